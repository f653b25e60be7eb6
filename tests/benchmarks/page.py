"""The pages' table of speeds, from what `make bench` measured."""

__all__ = ["page"]

from pathlib import Path

import pandas as pd

ROWS = [
    ("training step, HGAD's size", "FrEIA's stock blocks, textbook losses", "step_against_stock[hgad]", "speedup"),
    ("the same", "its own matrix products alone", "step_against_its_products[hgad]", "share"),
    ("the same", "the rate of a 2048² product", "step_against_a_square_product[hgad]", "share"),
    ("training step, preset `synthetic`", "stock blocks", "step_against_stock[synthetic]", "speedup"),
    ("the same", "stock blocks under `torch.compile`", "step_against_compiled_stock", "speedup"),
    ("run of HGAD's shape", "the reference recipe", "run_against_the_reference_recipe[hgad]", "speedup of a run"),
    ("run of preset `synthetic`", "the same", "run_against_the_reference_recipe[synthetic]", "speedup of a run"),
    ("pixel AUROC, 10⁷ pixels", "scikit-learn, the same value", "auroc_of_ten_million_pixels", "speedup"),
    ("test set to AUROC, HGAD's size", "image by image", "test_set_against_image_by_image[hgad]", "speedup"),
    ("test set to AUROC, `synthetic`", "image by image", "test_set_against_image_by_image[synthetic]", "speedup"),
    ("features, EfficientNet-B6 at 1024 px", "bare timm", "extraction_against_bare_inference[b6_pyramid]", "share"),
    ("features, WideResNet-50 at 256 px", "bare timm", "extraction_against_bare_inference[wide_resnet50]", "share"),
    ("features, ResNet-18 at 256 px", "bare timm", "extraction_against_bare_inference[resnet18]", "share"),
    ("features, EfficientNet-Lite0 at 128 px", "bare timm", "extraction_against_bare_inference[lite0]", "share"),
    ("FIGMN in batches of 256", "point by point", "figmn_in_batches_against_point_by_point", "speedup"),
]  # fmt: skip

GPU_ROWS = [
    ("training step, HGAD's size, TF32", "stock blocks under `torch.compile`, recorded, TF32", "step_against_compiled_stock[hgad]", "speedup"),
    ("training step, preset `synthetic`, TF32", "the same", "step_against_compiled_stock[synthetic]", "speedup"),
    ("training step, HGAD's size", "FrEIA's stock blocks, textbook losses", "step_against_stock[hgad]", "speedup"),
    ("the same", "its own matrix products alone", "step_against_its_products[hgad]", "share"),
    ("the same", "the rate of a 8192² product", "step_against_a_square_product[hgad]", "share"),
    ("training step, three levels", "stock blocks", "step_against_stock[three levels]", "speedup"),
    ("the same", "the rate of a 8192² product", "step_against_a_square_product[three levels]", "share"),
    ("training step, preset `synthetic`", "stock blocks", "step_against_stock[synthetic]", "speedup"),
    ("training step in TF32, HGAD's size", "in float32", "step_in_tf32[hgad]", "speedup"),
    ("the same, three levels", "in float32", "step_in_tf32[three levels]", "speedup"),
    ("features, EfficientNet-B6 at 1024 px", "bare timm, bfloat16", "extraction_against_bare_inference[b6_pyramid]", "share"),
    ("features, Lite0 pyramid at 512 px", "bare timm, bfloat16", "extraction_against_bare_inference[lite0_pyramid]", "share"),
    ("pixel AUROC, 10⁷ pixels on the card", "numpy on the CPU", "pixels_on_the_card[pixel_auroc]", "speedup"),
    ("AUPRO, 10⁷ pixels on the card", "numpy on the CPU", "pixels_on_the_card[aupro]", "speedup"),
    ("test set to AUROC, HGAD's size", "image by image", "test_set_against_image_by_image[hgad]", "speedup"),
    ("test set to AUROC, `synthetic`", "image by image", "test_set_against_image_by_image[synthetic]", "speedup"),
]  # fmt: skip


def page(path: Path) -> str:
    """Ratios in words, median and quartiles over pairs of calls; what a machine did not
    measure is left out.
    """
    measured = pd.read_csv(path).set_index(["benchmark", "quantity"])
    lines = ["| what | against | ratio | quartiles |", "|---|---|---|---|"]
    on_gpu = ("step_in_tf32[hgad]", "speedup") in measured.index
    for what, against, benchmark, quantity in GPU_ROWS if on_gpu else ROWS:
        if (benchmark, quantity) not in measured.index:
            continue
        value, low, high = measured.loc[(benchmark, quantity), ["value", "low", "high"]]
        ratio = f"{value:.0%}" if quantity.startswith("share") else f"{value:.2g}×"
        spread = (
            f"{low:.0%} to {high:.0%}"
            if quantity.startswith("share")
            else f"{low:.2g} to {high:.2g}"
        )
        lines.append(
            f"| {what} | {against} | {ratio} | {spread if low < high else '–'} |"
        )
    return "\n".join(lines)
