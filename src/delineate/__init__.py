"""From a folder of images and masks to a segmentation model that runs."""
