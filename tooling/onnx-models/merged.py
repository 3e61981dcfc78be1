"""A decoder with a past and one without in one file, as optimum merges them: an If on `use_cache_branch`."""

import onnx
from onnx import TensorProto, helper


def merge(without_past, with_past):
    """Weights that both have are shared; outputs that the branch with a past lacks are empty there."""
    weights = {}
    for model in (with_past, without_past):
        renamed = {}
        for weight in model.graph.initializer:
            key = (weight.data_type, tuple(weight.dims), weight.raw_data or weight.SerializeToString())
            if key not in weights:
                shared = onnx.TensorProto()
                shared.CopyFrom(weight)
                shared.name = f"shared_{len(weights)}"
                weights[key] = shared
            renamed[weight.name] = weights[key].name
        rename(model.graph, renamed)
    outputs = list(without_past.graph.output)
    present = {output.name for output in with_past.graph.output}
    nodes = list(with_past.graph.node)
    for output in outputs:
        if output.name in present:
            continue
        # Extents of 0 and 1 say that the states of the encoder are those of the run before.
        dims = [dim.dim_value or (0 if at == 0 else 1) for at, dim in enumerate(output.type.tensor_type.shape.dim)]
        empty = helper.make_tensor(output.name, output.type.tensor_type.elem_type, dims, [])
        nodes.append(helper.make_node("Constant", [], [output.name], value=empty))
    node = helper.make_node(
        "If",
        ["use_cache_branch"],
        [output.name for output in outputs],
        name="optimum::if",
        then_branch=helper.make_graph(nodes, "with_past", [], outputs),
        else_branch=helper.make_graph(list(without_past.graph.node), "no_past", [], outputs),
    )
    graph = helper.make_graph(
        [node],
        "merged",
        [*inputs_of(without_past, with_past), helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])],
        outputs,
        initializer=list(weights.values()),
    )
    opset = without_past.opset_import[0].version
    return helper.make_model(
        graph,
        producer_name="merged",
        ir_version=without_past.ir_version,
        opset_imports=[helper.make_opsetid("", opset)],
    )


def rename(graph, names):
    for node in graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)


def inputs_of(*models):
    """Inputs of either; the mask has another length in each, so its extent gets a name of its own."""
    inputs = {}
    for model in models:
        for value in model.graph.input:
            inputs.setdefault(value.name, value)
    mask = inputs.get("attention_mask")
    if mask is not None:
        mask.type.tensor_type.shape.dim[1].dim_param = "attention_mask_sequence_length"
    return inputs.values()
