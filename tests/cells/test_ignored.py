from cells.ignored import grouped, in_words


def test_similar_files_are_one_group_with_a_count() -> None:
    names = [f"Patient_{p:02d}/Unsigned slides/JH{i}.JPG" for p in range(9) for i in range(20)]
    names += ["a/.DS_Store", "b/Thumbs.db", "extra/", ".git/", "README"]
    groups = grouped(names)
    assert groups[0] == {
        "folder": "Patient_*/Unsigned slides",
        "kind": ".jpg",
        "count": 180,
        "first": "Patient_00/Unsigned slides/JH0.JPG",
    }
    assert [(g["folder"], g["kind"], g["count"]) for g in groups[1:]] == [
        ("", "folder", 1),
        ("", "hidden", 1),
        ("", "no ending", 1),
        ("a", "hidden", 1),
        ("b", ".db", 1),
    ]
    assert in_words(groups) == "180 .jpg in Patient_*/Unsigned slides, 1 folder, 1 hidden; and 3 more groups"


def test_the_number_of_a_single_folder_is_shown() -> None:
    (group,) = grouped(["set-2/x.txt", "set-2/y.txt"])
    assert group["folder"] == "set-2" and group["count"] == 2


def test_nothing_ignored_is_no_group() -> None:
    assert grouped([]) == [] and in_words([]) == ""
