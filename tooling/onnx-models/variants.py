"""Files as their users shrink them: dynamic int8, half precision, weights of four bits."""

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16


def int8(source, path):
    # Branches are left as they are otherwise.
    quantize_dynamic(source, path, weight_type=QuantType.QInt8, extra_options={"EnableSubgraph": True})


def int8_products(source, path):
    """Products of two computed values too, which ONNX Runtime leaves alone unless it is told."""
    options = {"EnableSubgraph": True, "MatMulConstBOnly": False}
    quantize_dynamic(source, path, weight_type=QuantType.QInt8, extra_options=options)


def fp16(source, path):
    """Inputs and outputs stay float32."""
    onnx.save(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True), str(path))


def fp16_whole(source, path):
    onnx.save(convert_float_to_float16(onnx.load(str(source))), str(path))


def q4(source, path):
    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), block_size=16, is_symmetric=True)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))


# By name: how it is written, and of which files.
VARIANTS = {
    "int8": (int8, ["bert-sdpa-traced-17", "gpt2-with-past-eager-traced-17", "t5-decoder-merged-eager-traced-17"]),
    "int8-products": (int8_products, ["bert-eager-traced-17"]),
    "fp16": (fp16, ["bert-eager-traced-17", "llama-with-past-sdpa-traced-17"]),
    "fp16-whole": (fp16_whole, ["vit-sdpa-export-23"]),
    "q4": (q4, ["bert-sdpa-traced-17", "llama-eager-traced-17"]),
}
