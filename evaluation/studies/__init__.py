"""What a study is: settings, strategies, cells, trials, and designs of several studies."""
