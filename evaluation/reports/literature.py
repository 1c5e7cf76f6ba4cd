"""The literature that a method section may cite, by key."""

from __future__ import annotations

from evaluation.reports.references import Reference, article, paper

NEURIPS = "Advances in Neural Information Processing Systems"
ICLR = "International Conference on Learning Representations"
ICML = "International Conference on Machine Learning"
CVPR = "IEEE/CVF Conference on Computer Vision and Pattern Recognition"
ICCV = "IEEE/CVF International Conference on Computer Vision"

LITERATURE: dict[str, Reference] = {
    # Data sets
    "acevedo2020": article(
        "Acevedo, A. and Merino, A. and Alférez, S. and Molina, Á. and Boldú, L. and Rodellar, J.",
        "A dataset of microscopic peripheral blood cell images for development of automatic recognition "
        "systems",
        *(2020, "Data in Brief", "30", "105474", "10.1016/j.dib.2020.105474"),
    ),
    "matek2019": article(
        "Matek, C. and Schwarz, S. and Spiekermann, K. and Marr, C.",
        "Human-level recognition of blast cells in acute myeloid leukaemia with convolutional "
        "neural networks",
        *(2019, "Nature Machine Intelligence", "1", "538--544", "10.1038/s42256-019-0101-9"),
    ),
    "kouzehkanan2022": article(
        "Kouzehkanan, Z. M. and others",
        "A large dataset of white blood cells containing cell locations and types, along with segmented "
        "nuclei and cytoplasm",
        *(2022, "Scientific Reports", "12", "1123", "10.1038/s41598-021-04426-x"),
    ),
    "yang2023": article(
        "Yang, J. and Shi, R. and Wei, D. and Liu, Z. and Zhao, L. and Ke, B. and Pfister, H. and Ni, B.",
        "MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image classification",
        *(2023, "Scientific Data", "10", "41", "10.1038/s41597-022-01721-8"),
    ),
    "sidhom2021": article(
        "Sidhom, J.-W. and others",
        "Deep learning for diagnosis of acute promyelocytic leukemia via recognition of genomically "
        "imprinted morphologic features",
        *(2021, "npj Precision Oncology", "5", "", "10.1038/s41698-021-00179-y"),
    ),
    "ozturk2020": article(
        "Ozturk, T. and Talo, M. and Yildirim, E. A. and Baloglu, U. B. and Yildirim, O. and Acharya, U. R.",
        "Automated detection of COVID-19 cases using deep neural networks with X-ray images",
        *(2020, "Computers in Biology and Medicine", "121", "103792", "10.1016/j.compbiomed.2020.103792"),
    ),
    # Preprocessing
    "tellez2019": article(
        "Tellez, D. and Litjens, G. and Bándi, P. and Bulten, W. and Bokhorst, J.-M. and Ciompi, F. and "
        "van der Laak, J.",
        "Quantifying the effects of data augmentation and stain color normalization in convolutional "
        "neural networks for computational pathology",
        *(2019, "Medical Image Analysis", "58", "101544", "10.1016/j.media.2019.101544"),
    ),
    "reinhard2001": article(
        "Reinhard, E. and Ashikhmin, M. and Gooch, B. and Shirley, P.",
        "Color Transfer between Images",
        *(2001, "IEEE Computer Graphics and Applications", "21(5)", "34--41"),
    ),
    "macenko2009": Reference(
        "Macenko, M. and Niethammer, M. and Marron, J. S. and Borland, D. and Woosley, J. T. and Guan, X. "
        "and Schmitt, C. and Thomas, N. E.",
        "A method for normalizing histology slides for quantitative analysis",
        *(2009, "IEEE International Symposium on Biomedical Imaging"),
        pages="1107--1110",
    ),
    # Generators
    "karras2022": paper(
        "Karras, T. and Aittala, M. and Aila, T. and Laine, S.",
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        *(2022, NEURIPS, "2206.00364"),
    ),
    "lu2022": paper(
        "Lu, C. and Zhou, Y. and Bao, F. and Chen, J. and Li, C. and Zhu, J.",
        "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        *(2022, "", "2211.01095"),
    ),
    "ho2022": paper("Ho, J. and Salimans, T.", "Classifier-Free Diffusion Guidance", 2022, "", "2207.12598"),
    "kynkaanniemi2024": paper(
        "Kynkäänniemi, T. and Aittala, M. and Karras, T. and Laine, S. and Aila, T. and Lehtinen, J.",
        "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in "
        "Diffusion Models",
        *(2024, NEURIPS, "2404.07724"),
    ),
    "karras2024": paper(
        "Karras, T. and Aittala, M. and Kynkäänniemi, T. and Lehtinen, J. and Aila, T. and Laine, S.",
        "Guiding a Diffusion Model with a Bad Version of Itself",
        *(2024, NEURIPS, "2406.02507"),
    ),
    "qin2023": paper(
        "Qin, Y. and Zheng, H. and Yao, J. and Zhou, M. and Zhang, Y.",
        "Class-Balancing Diffusion Models",
        *(2023, CVPR, "2305.00562"),
    ),
    "vonplaten2022": Reference(
        "von Platen, P. and others",
        "Diffusers: State-of-the-art diffusion models",
        2022,
        kind="misc",
        url="https://github.com/huggingface/diffusers",
    ),
    "huang2024": paper(
        "Huang, Y. and Gokaslan, A. and Kuleshov, V. and Tompkin, J.",
        "The GAN is dead; long live the GAN! A Modern GAN Baseline",
        *(2024, NEURIPS, "2501.05441"),
    ),
    "miyato2018": paper(
        "Miyato, T. and Koyama, M.", "cGANs with Projection Discriminator", 2018, ICLR, "1802.05637"
    ),
    "zhao2020": paper(
        "Zhao, S. and Liu, Z. and Lin, J. and Zhu, J.-Y. and Han, S.",
        "Differentiable Augmentation for Data-Efficient GAN Training",
        *(2020, NEURIPS, "2006.10738"),
    ),
    "mao2019": paper(
        "Mao, Q. and Lee, H.-Y. and Tseng, H.-Y. and Ma, S. and Yang, M.-H.",
        "Mode Seeking Generative Adversarial Networks for Diverse Image Synthesis",
        *(2019, CVPR, "1903.05628"),
    ),
    "karras2020": paper(
        "Karras, T. and Aittala, M. and Hellsten, J. and Laine, S. and Lehtinen, J. and Aila, T.",
        "Training Generative Adversarial Networks with Limited Data",
        *(2020, NEURIPS, "2006.06676"),
    ),
    "rangwani2023": paper(
        "Rangwani, H. and Bansal, L. and Sharma, K. and Karmali, T. and Jampani, V. and Babu, R. V.",
        "NoisyTwins: Class-Consistent and Diverse Image Generation through StyleGANs",
        *(2023, CVPR, "2304.05866"),
    ),
    "chawla2002": article(
        "Chawla, N. V. and Bowyer, K. W. and Hall, L. O. and Kegelmeyer, W. P.",
        "SMOTE: Synthetic Minority Over-sampling Technique",
        *(2002, "Journal of Artificial Intelligence Research", "16", "321--357", "10.1613/jair.953"),
    ),
    # Curation and what synthetic cells are worth by themselves
    "carlini2023": paper(
        "Carlini, N. and Hayes, J. and Nasr, M. and Jagielski, M. and Sehwag, V. and Tramèr, F. and Balle, "
        "B. and Ippolito, D. and Wallace, E.",
        "Extracting Training Data from Diffusion Models",
        *(2023, "USENIX Security Symposium", "2301.13188"),
    ),
    "sener2018": paper(
        "Sener, O. and Savarese, S.",
        "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
        *(2018, ICLR, "1708.00489"),
    ),
    "kynkaanniemi2019": paper(
        "Kynkäänniemi, T. and Karras, T. and Laine, S. and Lehtinen, J. and Aila, T.",
        "Improved Precision and Recall Metric for Assessing Generative Models",
        *(2019, NEURIPS, "1904.06991"),
    ),
    "heusel2017": paper(
        "Heusel, M. and Ramsauer, H. and Unterthiner, T. and Nessler, B. and Hochreiter, S.",
        "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
        *(2017, NEURIPS, "1706.08500"),
    ),
    "binkowski2018": paper(
        "Bińkowski, M. and Sutherland, D. J. and Arbel, M. and Gretton, A.",
        "Demystifying MMD GANs",
        *(2018, ICLR, "1801.01401"),
    ),
    "naeem2020": paper(
        "Naeem, M. F. and Oh, S. J. and Uh, Y. and Choi, Y. and Yoo, J.",
        "Reliable Fidelity and Diversity Metrics for Generative Models",
        *(2020, ICML, "2002.09797"),
    ),
    "obukhov2020": Reference(
        "Obukhov, A. and Seitzer, M. and Wu, P.-W. and Zhydenko, S. and Kyl, J. and Lin, E. Y.-J.",
        "High-fidelity performance metrics for generative models in PyTorch",
        *(2020, "Zenodo", "misc"),
        doi="10.5281/zenodo.4957738",
    ),
    "otsu1979": article(
        "Otsu, N.",
        "A Threshold Selection Method from Gray-Level Histograms",
        *(1979, "IEEE Transactions on Systems, Man, and Cybernetics", "9(1)", "62--66"),
    ),
    "rabin2011": article(
        "Rabin, J. and Delon, J. and Gousseau, Y.",
        "Transportation Distances on the Circle",
        *(2011, "Journal of Mathematical Imaging and Vision", "41", "147--167"),
    ),
    # Strategies
    "menon2021": paper(
        "Menon, A. K. and Jayasumana, S. and Rawat, A. S. and Jain, H. and Veit, A. and Kumar, S.",
        "Long-tail learning via logit adjustment",
        *(2021, ICLR, "2007.07314"),
    ),
    "ren2020": paper(
        "Ren, J. and Yu, C. and Sheng, S. and Ma, X. and Zhao, H. and Yi, S. and Li, H.",
        "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
        *(2020, NEURIPS, "2007.10740"),
    ),
    "cao2019": paper(
        "Cao, K. and Wei, C. and Gaidon, A. and Arechiga, N. and Ma, T.",
        "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
        *(2019, NEURIPS, "1906.07413"),
    ),
    "lin2017": paper(
        "Lin, T.-Y. and Goyal, P. and Girshick, R. and He, K. and Dollár, P.",
        "Focal Loss for Dense Object Detection",
        *(2017, ICCV, "1708.02002"),
    ),
    "cui2019": paper(
        "Cui, Y. and Jia, M. and Lin, T.-Y. and Song, Y. and Belongie, S.",
        "Class-Balanced Loss Based on Effective Number of Samples",
        *(2019, CVPR, "1901.05555"),
    ),
    "kang2020": paper(
        "Kang, B. and Xie, S. and Rohrbach, M. and Yan, Z. and Gordo, A. and Feng, J. and Kalantidis, Y.",
        "Decoupling Representation and Classifier for Long-Tailed Recognition",
        *(2020, ICLR, "1910.09217"),
    ),
    "zhang2018": paper(
        "Zhang, H. and Cisse, M. and Dauphin, Y. N. and Lopez-Paz, D.",
        "mixup: Beyond Empirical Risk Minimization",
        *(2018, ICLR, "1710.09412"),
    ),
    "yun2019": paper(
        "Yun, S. and Han, D. and Oh, S. J. and Chun, S. and Choe, J. and Yoo, Y.",
        "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        *(2019, ICCV, "1905.04899"),
    ),
    "chou2020": paper(
        "Chou, H.-P. and Chang, S.-C. and Pan, J.-Y. and Wei, W. and Juan, D.-C.",
        "Remix: Rebalanced Mixup",
        *(2020, "European Conference on Computer Vision Workshops", "2007.03943"),
    ),
    "cubuk2020": paper(
        "Cubuk, E. D. and Zoph, B. and Shlens, J. and Le, Q. V.",
        "RandAugment: Practical automated data augmentation with a reduced search space",
        *(2020, f"{CVPR} Workshops", "1909.13719"),
    ),
    "muller2021": paper(
        "Müller, S. G. and Hutter, F.",
        "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
        *(2021, ICCV, "2103.10158"),
    ),
    "buslaev2020": article(
        "Buslaev, A. and Iglovikov, V. I. and Khvedchenya, E. and Parinov, A. and Druzhinin, M. and "
        "Kalinin, A. A.",
        "Albumentations: Fast and Flexible Image Augmentations",
        *(2020, "Information", "11(2)", "125", "10.3390/info11020125"),
    ),
    "lemaitre2017": article(
        "Lemaître, G. and Nogueira, F. and Aridas, C. K.",
        "Imbalanced-learn: A Python Toolbox to Tackle the Curse of Imbalanced Datasets in Machine Learning",
        *(2017, "Journal of Machine Learning Research", "18(17)", "1--5"),
    ),
    # Classifiers
    "russakovsky2015": article(
        "Russakovsky, O. and Deng, J. and Su, H. and others",
        "ImageNet Large Scale Visual Recognition Challenge",
        *(2015, "International Journal of Computer Vision", "115(3)", "211--252"),
    ),
    "loshchilov2019": paper(
        "Loshchilov, I. and Hutter, F.", "Decoupled Weight Decay Regularization", 2019, ICLR, "1711.05101"
    ),
    "kingma2015": paper(
        "Kingma, D. P. and Ba, J.", "Adam: A Method for Stochastic Optimization", 2015, ICLR, "1412.6980"
    ),
    "smith2017": paper(
        "Smith, L. N. and Topin, N.",
        "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
        *(2017, "", "1708.07120"),
    ),
    "he2016": paper(
        "He, K. and Zhang, X. and Ren, S. and Sun, J.",
        "Deep Residual Learning for Image Recognition",
        *(2016, CVPR, "1512.03385"),
    ),
    "tran2015": paper(
        "Tran, D. and Bourdev, L. and Fergus, R. and Torresani, L. and Paluri, M.",
        "Learning Spatiotemporal Features with 3D Convolutional Networks",
        *(2015, ICCV, "1412.0767"),
    ),
    "donahue2015": paper(
        "Donahue, J. and Hendricks, L. A. and Guadarrama, S. and Rohrbach, M. and Venugopalan, S. and "
        "Saenko, K. and Darrell, T.",
        "Long-term Recurrent Convolutional Networks for Visual Recognition and Description",
        *(2015, CVPR, "1411.4389"),
    ),
    "sandler2018": paper(
        "Sandler, M. and Howard, A. and Zhu, M. and Zhmoginov, A. and Chen, L.-C.",
        "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        *(2018, CVPR, "1801.04381"),
    ),
    "simonyan2015": paper(
        "Simonyan, K. and Zisserman, A.",
        "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        *(2015, ICLR, "1409.1556"),
    ),
    "tan2019": paper(
        "Tan, M. and Le, Q. V.",
        "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        *(2019, ICML, "1905.11946"),
    ),
    "liu2022": paper(
        "Liu, Z. and Mao, H. and Wu, C.-Y. and Feichtenhofer, C. and Darrell, T. and Xie, S.",
        "A ConvNet for the 2020s",
        *(2022, CVPR, "2201.03545"),
    ),
    # Statistics and software
    "fisher1935": Reference("Fisher, R. A.", "The Design of Experiments", 1935, "Oliver and Boyd", "book"),
    "holm1979": article(
        "Holm, S.",
        "A Simple Sequentially Rejective Multiple Test Procedure",
        *(1979, "Scandinavian Journal of Statistics", "6(2)", "65--70"),
    ),
    "nadeau2003": article(
        "Nadeau, C. and Bengio, Y.",
        "Inference for the Generalization Error",
        *(2003, "Machine Learning", "52", "239--281", "10.1023/A:1024068626366"),
    ),
    "owen2007": article(
        "Owen, A. B.",
        "The pigeonhole bootstrap",
        *(2007, "The Annals of Applied Statistics", "1(2)", "386--411"),
    ),
    "efron1987": article(
        "Efron, B.",
        "Better Bootstrap Confidence Intervals",
        *(1987, "Journal of the American Statistical Association", "82(397)", "171--185"),
    ),
    "guo2017": paper(
        "Guo, C. and Pleiss, G. and Sun, Y. and Weinberger, K. Q.",
        "On Calibration of Modern Neural Networks",
        *(2017, ICML, "1706.04599"),
    ),
    "paszke2019": paper(
        "Paszke, A. and Gross, S. and Massa, F. and others",
        "PyTorch: An Imperative Style, High-Performance Deep Learning Library",
        *(2019, NEURIPS, "1912.01703"),
    ),
    "virtanen2020": article(
        "Virtanen, P. and others",
        "SciPy 1.0: Fundamental Algorithms for Scientific Computing in Python",
        *(2020, "Nature Methods", "17", "261--272", "10.1038/s41592-019-0686-2"),
    ),
}
