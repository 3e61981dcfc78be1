"""Small ONNX files for the tests of the reader and writer, and what is in them as JSON.

    python tooling/goldens/onnx_models.py            write packages/backend-onnxruntime/test/onnx/fixtures
    python tooling/goldens/onnx_models.py --check    make them in memory, exit 1 on a difference

`everything` has every field of onnx.proto that the package names, and some that it does not; `plain` has named fields alone, so
that writing it again gives the same bytes. The JSON is protobuf's own mapping: int64 as text, bytes in base64.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parents[2] / "packages" / "backend-onnxruntime" / "test" / "onnx" / "fixtures"
INT64_MAX = 2**63 - 1

# Element types, and six values of each that they hold exactly.
TYPES = {
    TensorProto.FLOAT: [0.5, -1.25, 0, 3, float("inf"), -2],
    TensorProto.UINT8: [0, 1, 2, 127, 128, 255],
    TensorProto.INT8: [0, 1, -1, 127, -128, 5],
    TensorProto.UINT16: [0, 1, 2, 3, 4, 65535],
    TensorProto.INT16: [0, 1, -1, 3, -32768, 32767],
    TensorProto.INT32: [0, 1, -1, 3, -(2**31), 2**31 - 1],
    TensorProto.INT64: [0, 1, -1, 3, -(2**63), INT64_MAX],
    TensorProto.BOOL: [True, False, True, True, False, False],
    TensorProto.FLOAT16: [0.5, -1.25, 0, 3, 65504, -2],
    TensorProto.DOUBLE: [0.5, -1.25, 0, 1e300, float("inf"), 1 / 3],
    TensorProto.UINT32: [0, 1, 2, 3, 4, 2**32 - 1],
    TensorProto.UINT64: [0, 1, 2, 3, 4, 2**64 - 1],
    TensorProto.COMPLEX64: [1 + 2j, 0, -1j, 0.5, 3, -2 + 1j],
    TensorProto.COMPLEX128: [1 + 2j, 0, -1j, 0.5, 3, -2 + 1j],
    TensorProto.BFLOAT16: [0.5, -1.25, 0, 3, 256, -2],
    TensorProto.FLOAT8E4M3FN: [0.5, -1.25, 0, 3, 448, -2],
    TensorProto.FLOAT8E4M3FNUZ: [0.5, -1.25, 0, 3, 240, -2],
    TensorProto.FLOAT8E5M2: [0.5, -1.25, 0, 3, 256, -2],
    TensorProto.FLOAT8E5M2FNUZ: [0.5, -1.25, 0, 3, 256, -2],
    TensorProto.UINT4: [0, 1, 2, 3, 14, 15],
    TensorProto.INT4: [0, 1, -1, 3, -8, 7],
}


def name_of(data_type):
    return TensorProto.DataType.Name(data_type).lower()


def tensors():
    for data_type, values in TYPES.items():
        array = np.array(values, dtype=helper.tensor_dtype_to_np_dtype(data_type))
        raw = numpy_helper.from_array(array.reshape(2, 3), f"raw_{name_of(data_type)}")
        assert raw.data_type == data_type and raw.HasField("raw_data")
        yield raw
        yield helper.make_tensor(f"list_{name_of(data_type)}", data_type, [2, 3], values)
    yield helper.make_tensor("list_string", TensorProto.STRING, [2], ["ä".encode(), b"\xff\xfe"])
    yield helper.make_tensor("scalar", TensorProto.FLOAT, [], [2.5])
    yield helper.make_tensor("empty", TensorProto.INT64, [0, 4], [])


def external():
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "weights.bin", "offset": "4096", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse():
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [2], [1, 5])
    return helper.make_sparse_tensor(values, indices, [2, 3])


def branch(name, op):
    node = helper.make_node(op, ["x"], [f"{name}_y"], name=name)
    return helper.make_graph([node], name, [], [helper.make_tensor_value_info(f"{name}_y", 1, ["batch", None, 4])])


def attributes():
    tensor = helper.make_tensor("t", TensorProto.INT64, [2], [-1, INT64_MAX])
    tensor_type = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", 3])
    made = {
        "float": 0.5,
        "int": INT64_MAX,
        "zero": 0,
        "string": "text ä",
        "tensor": tensor,
        "graph": branch("inner", "Abs"),
        "sparse": sparse(),
        "type": tensor_type,
        "floats": [0.5, -2.0],
        "ints": [-(2**63), -1, 0, 300],
        "strings": ["a", "b"],
        "tensors": [tensor, tensor],
        "graphs": [branch("g0", "Neg"), branch("g1", "Abs")],
        "sparses": [sparse()],
        "types": [tensor_type, helper.make_sequence_type_proto(tensor_type)],
    }
    for name, value in made.items():
        yield helper.make_attribute(name, value, doc_string=f"doc of {name}")
    yield helper.make_attribute("empty", [], attr_type=onnx.AttributeProto.INTS)
    yield onnx.AttributeProto(name="inherited", ref_attr_name="of_function", type=onnx.AttributeProto.INT)


def value_types():
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT16, ["batch", 7, None])
    yield "sequence", helper.make_sequence_type_proto(tensor)
    yield "optional", helper.make_optional_type_proto(helper.make_sequence_type_proto(tensor))
    yield "map", helper.make_map_type_proto(TensorProto.INT64, tensor)
    yield "sparse_type", helper.make_sparse_tensor_type_proto(TensorProto.DOUBLE, [2, "m"])
    yield "unranked", helper.make_tensor_type_proto(TensorProto.INT32, None)


def graph():
    every = helper.make_node("Every", ["x", "", "raw_float"], ["e"], name="every", domain="test", doc_string="doc")
    every.overload = "one"
    every.attribute.extend(attributes())
    every.metadata_props.add(key="place", value="here")
    branches = {"then_branch": branch("then", "Abs"), "else_branch": branch("else", "Neg")}
    made = helper.make_graph(
        [
            every,
            helper.make_node("Twice", ["x"], ["d"], domain="local", factor=2.0),
            helper.make_node("If", ["choice"], ["y"], **branches),
        ],
        "main",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", None, 4], doc_string="input"),
            helper.make_tensor_value_info("choice", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None, 4])],
        [*tensors(), external()],
        doc_string="the graph",
        value_info=[helper.make_value_info(name, made) for name, made in value_types()],
        sparse_initializer=[sparse()],
    )
    made.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    made.input[0].type.denotation = "IMAGE"
    made.metadata_props.add(key="of", value="graph")
    return made


def function():
    made = helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Mul", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 21)],
        attributes=["factor"],
        attribute_protos=[helper.make_attribute("offset", 1)],
        doc_string="doubles",
        overload="",
    )
    made.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, None))
    return made


def plain():
    model = helper.make_model(
        graph(),
        producer_name="goldens",
        producer_version="1",
        domain="org.test",
        model_version=INT64_MAX,
        doc_string="a model",
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("local", 1), helper.make_opsetid("test", 3)],
        functions=[function()],
    )
    helper.set_model_props(model, {"author": "nobody"})
    return model


def everything():
    model = plain()
    annotation = model.graph.quantization_annotation.add(tensor_name="x")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scalar")
    model.graph.node[0].device_configurations.add(configuration_id="two", pipeline_stage=1)
    model.configuration.add(name="two", num_devices=2, device=["a", "b"])
    training = model.training_info.add()
    training.algorithm.CopyFrom(branch("training", "Abs"))
    training.update_binding.add(key="raw_float", value="y")
    model.graph.initializer[0].segment.begin = 0
    model.graph.initializer[0].segment.end = 6
    return model


def files():
    for name, model in {"plain": plain(), "everything": everything()}.items():
        yield f"{name}.onnx", model.SerializeToString(deterministic=True)
        content = json_format.MessageToDict(model, use_integers_for_enums=True)
        yield f"{name}.json", (json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n").encode()


def main():
    check = "--check" in sys.argv[1:]
    differing = []
    for name, content in files():
        path = FOLDER / name
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        elif not path.exists() or path.read_bytes() != content:
            differing.append(name)
    if differing:
        sys.exit(f"differing: {', '.join(differing)}")


if __name__ == "__main__":
    main()
