"""Exports small models with random weights to ONNX, each under 1 MB, and writes what a test must know into manifest.json.

    python export_models.py            all of them
    python export_models.py bert gpt2  those whose name begins so

Needs torch, transformers, onnx and onnxscript: the manifest names the versions that wrote the files.
"""

import hashlib
import inspect
import json
import sys
import warnings
from pathlib import Path

import onnx
import torch
import transformers
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
)

import cross_attention
from blocks import BLOCKS
from merged import merge
from sizes import HEADS, HIDDEN, LAYERS, LONGEST, VOCABULARY, WIDTH
from variants import VARIANTS

HERE = Path(__file__).parent
MODELS = HERE / "models"
MANIFEST = HERE / "manifest.json"

# Exporters by name: the traced one writes opset 17, the one of torch.export 18 or 23.
EXPORTERS = {
    "traced-17": {"dynamo": False, "opset_version": 17},
    "export-18": {"dynamo": True, "opset_version": 18},
    "export-23": {"dynamo": True, "opset_version": 23},
}
# What exporters of these versions cannot do: torch.export loses the strides of T5's output with sdpa.
FAILS = {
    ("t5-encoder", "export-18", "sdpa"),
    ("t5-encoder", "export-23", "sdpa"),
    ("t5-decoder", "export-18", "sdpa"),
    ("t5-decoder-with-past", "export-18", "sdpa"),
}


class Outputs(torch.nn.Module):
    """A model that takes tensors in order and returns its first output."""

    def __init__(self, model, names=("input_ids", "attention_mask"), **constants):
        super().__init__()
        self.model = model
        self.names = names
        self.constants = constants

    def forward(self, *values):
        return self.model(**dict(zip(self.names, values)), return_dict=False, **self.constants)[0]


class WithPresent(torch.nn.Module):
    """A decoder without a past that returns the keys and values of its input."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        output = self.model(input_ids, attention_mask=attention_mask, use_cache=True)
        return output.logits, *present_of(output)


class WithPast(torch.nn.Module):
    """A decoder that takes the keys and values of earlier tokens, and returns all of them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, *past):
        cache = DynamicCache()
        for layer in range(LAYERS):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        output = self.model(input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True)
        return output.logits, *present_of(output)


def present_of(output):
    return [state for layer in output.past_key_values.layers for state in (layer.keys, layer.values)]


def bert(attention):
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=LONGEST,
        attn_implementation=attention,
    )
    return Outputs(BertModel(config, add_pooling_layer=False)), text_inputs()


def roberta(attention):
    config = RobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        max_position_embeddings=LONGEST + 2,
        attn_implementation=attention,
    )
    return Outputs(RobertaModel(config, add_pooling_layer=False)), text_inputs()


def distilbert(attention):
    config = DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=HIDDEN,
        max_position_embeddings=LONGEST,
        attn_implementation=attention,
    )
    return Outputs(DistilBertModel(config)), text_inputs()


def gpt2_model(attention):
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_positions=LONGEST,
        attn_implementation=attention,
    )
    return GPT2LMHeadModel(config)


def gpt2(attention):
    return Outputs(gpt2_model(attention), use_cache=False), text_inputs()


def gpt2_with_past(attention):
    return WithPast(gpt2_model(attention)), past_inputs(HEADS)


def llama_model(attention):
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        max_position_embeddings=LONGEST,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config)


def llama(attention):
    return Outputs(llama_model(attention), use_cache=False), text_inputs()


def llama_with_past(attention):
    return WithPast(llama_model(attention)), past_inputs(2)


def modernbert(attention):
    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=LONGEST,
        layer_types=["full_attention", "sliding_attention"],
        local_attention=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        attn_implementation=attention,
    )
    return Outputs(ModernBertModel(config)), text_inputs()


def t5_encoder(attention):
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=HIDDEN,
        num_layers=LAYERS,
        num_heads=HEADS,
        attn_implementation=attention,
    )
    return Outputs(T5EncoderModel(config)), text_inputs()


def vit(attention):
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=HIDDEN,
        image_size=32,
        patch_size=4,
        attn_implementation=attention,
    )
    images = {"pixel_values": (torch.randn(2, 3, 32, 32), {0: "batch"})}
    return Outputs(ViTModel(config, add_pooling_layer=False), names=["pixel_values"]), images


def text_inputs():
    axes = {0: "batch", 1: "length"}
    ids = torch.randint(1, VOCABULARY, (2, 13))
    mask = torch.ones(2, 13, dtype=torch.int64)
    mask[0, 9:] = 0
    return {"input_ids": (ids, axes), "attention_mask": (mask, axes)}


def past_inputs(heads):
    axes = {0: "batch", 2: "past"}
    mask = torch.ones(2, 18, dtype=torch.int64)
    mask[0, :2] = 0
    inputs = {
        "input_ids": (torch.randint(1, VOCABULARY, (2, 7)), {0: "batch", 1: "length"}),
        "attention_mask": (mask, {0: "batch", 1: "past + length"}),
    }
    for layer in range(LAYERS):
        for part in ("key", "value"):
            inputs[f"past.{layer}.{part}"] = (torch.randn(2, heads, 11, WIDTH // HEADS), axes)
    return inputs


FAMILIES = {"bert": bert, "gpt2": gpt2, "t5-encoder": t5_encoder, "vit": vit, "llama": llama}
# With the traced exporter, and some of them with that of torch.export at opset 18.
FURTHER = {
    "distilbert": distilbert,
    "roberta": roberta,
    "gpt2-with-past": gpt2_with_past,
    "llama-with-past": llama_with_past,
    "modernbert": modernbert,
    **cross_attention.FAMILIES,
}
EXPORTED_18 = {
    "gpt2-with-past",
    "llama-with-past",
    "modernbert",
    *(f"{family}-decoder{past}" for family in ("bart", "t5", "whisper") for past in ("", "-with-past")),
}
# The parts with a past and without are exported with the same weights.
MERGED = {
    "gpt2-merged": (gpt2_model, lambda model: (WithPast(model), past_inputs(HEADS))),
    "llama-merged": (llama_model, lambda model: (WithPast(model), past_inputs(2))),
}


def with_present(model):
    return WithPresent(model), text_inputs(), output_names(past_inputs(HEADS))


def write_merged(family, attention, path):
    if family in cross_attention.MERGED:
        model = cross_attention.MERGED[family](attention)
        parts = [cross_attention.decoder_of(model, True), cross_attention.decoder_with_past_of(model, True)]
    else:
        make, with_past = MERGED[family]
        model = make(attention).eval()
        parts = [with_present(model), with_past(model)]
    models = []
    for part in parts:
        write_part(part, "traced-17", path)
        models.append(onnx.load(str(path)))
    onnx.save(merge(*models), str(path))


def write_part(part, exporter, path):
    model, inputs, *outputs = part
    export(model.eval(), inputs, exporter, path, outputs[0] if outputs else output_names(inputs))


def export(model, inputs, exporter, path, outputs):
    names = list(inputs)
    values = tuple(value for value, _ in inputs.values())
    options = EXPORTERS[exporter]
    common = {"input_names": names, "output_names": outputs, **options}
    if options["dynamo"]:
        shapes = dynamic_shapes(model, [axes for _, axes in inputs.values()])
        program = torch.onnx.export(
            model, values, dynamic_shapes=shapes, external_data=False, verbose=False, **common
        )
        program.save(str(path))
        name_sums(path, inputs)
    else:
        axes = {name: axes for name, (_, axes) in inputs.items()}
        torch.onnx.export(model, values, str(path), dynamic_axes=axes, **common)
    strip(path)


def dynamic_shapes(model, axes):
    """An entry for each parameter of the model; those of `*values` are one. Sums have no name of their own there."""
    dims = {name: torch.export.Dim(name) for one in axes for name in one.values() if name.isidentifier()}
    shapes = [{axis: dims.get(name, torch.export.Dim.AUTO) for axis, name in one.items()} for one in axes]
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    single = sum(kind != inspect.Parameter.VAR_POSITIONAL for kind in kinds)
    return (*shapes[:single], tuple(shapes[single:])) if single < len(kinds) else tuple(shapes)


def name_sums(path, inputs):
    """Gives extents that are sums of others the name that the traced exporter gives them."""
    model = onnx.load(str(path))
    names = {}
    for value in model.graph.input:
        for axis, name in inputs[value.name][1].items():
            names[value.type.tensor_type.shape.dim[axis].dim_param] = name
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]
    onnx.save(model, str(path))


def output_names(inputs):
    return ["output", *(name.replace("past", "present") for name in inputs if name.startswith("past."))]


def strip(path):
    """Leaves out what exporters note for people: stack traces and names of modules take half of a small file."""
    model = onnx.load(str(path))

    def clean(graph):
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    clean(attribute.g)
        for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
            del value.metadata_props[:]
        del graph.metadata_props[:]

    clean(model.graph)
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    del model.metadata_props[:]
    onnx.save(model, str(path))


def blocks_of(family):
    if family == "block":
        return 1
    # A decoder of a text has a block for the text in each layer.
    return layers_of(family) * (2 if "-decoder" in family else 1)


def layers_of(family):
    if family == "block":
        return 0
    return LAYERS * (2 if "-merged" in family else 1)


def describe(path, name, family, exporter, attention, variant):
    content = path.read_bytes()
    assert len(content) < 1_000_000, f"{path} has {len(content)} bytes"
    return {
        "name": name,
        "family": family,
        "exporter": exporter,
        "attention": attention,
        "blocks": blocks_of(family),
        "layers": layers_of(family),
        **({"variant": variant} if variant else {}),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def save(entries):
    versions = {module.__name__: module.__version__ for module in (torch, transformers, onnx)}
    models = [entries[name] for name in sorted(entries)]
    MANIFEST.write_text(json.dumps({"versions": versions, "models": models}, indent=2) + "\n")


def main(wanted):
    warnings.filterwarnings("ignore")
    MODELS.mkdir(exist_ok=True)
    known = json.loads(MANIFEST.read_text())["models"] if MANIFEST.exists() else []
    entries = {entry["name"]: entry for entry in known}

    def add(name, family, exporter, attention, write, variant=None):
        if wanted and not any(name.startswith(one) for one in wanted):
            return
        torch.manual_seed(20)
        path = MODELS / f"{name}.onnx"
        write(path)
        entries[name] = describe(path, name, family, exporter, attention, variant)
        print(name, entries[name]["bytes"])
        save(entries)

    for family, make in {**FAMILIES, **FURTHER}.items():
        for exporter in EXPORTERS:
            for attention in ("eager", "sdpa"):
                # Opset 23 changes sdpa alone. Its Llama does not run in ONNX Runtime: the exporter's RotaryEmbedding is wrong.
                if exporter == "export-23" and (attention == "eager" or family == "llama"):
                    continue
                if (family, exporter, attention) in FAILS:
                    continue
                if family in FURTHER and exporter == "export-23":
                    continue
                if family in FURTHER and exporter == "export-18" and family not in EXPORTED_18:
                    continue

                def write(path, exporter=exporter, attention=attention, make=make):
                    write_part(make(attention), exporter, path)

                add(f"{family}-{attention}-{exporter}", family, exporter, attention, write)
    for family in [*MERGED, *cross_attention.MERGED]:
        for attention in ("eager", "sdpa"):

            def write(path, family=family, attention=attention):
                write_merged(family, attention, path)

            add(f"{family}-{attention}-traced-17", family, "traced-17", attention, write)
    for variant, (shrink, sources) in VARIANTS.items():
        for source in sources:

            def write(path, shrink=shrink, source=source):
                shrink(MODELS / f"{source}.onnx", path)

            entry = entries[source]
            add(f"{source}-{variant}", entry["family"], entry["exporter"], entry["attention"], write, variant)
    for name, (block, opset) in BLOCKS.items():

        def write(path, block=block, opset=opset):
            module, inputs = block()
            axes = {key: axes for key, (_, axes) in inputs.items()}
            values = tuple(value for value, _ in inputs.values())
            options = {"dynamo": False, "opset_version": opset, "dynamic_axes": axes}
            names = {"input_names": list(inputs), "output_names": ["output"]}
            torch.onnx.export(module.eval(), values, str(path), **names, **options)
            strip(path)

        add(f"block-{name}", "block", f"traced-{opset}", "eager", write)


if __name__ == "__main__":
    main(sys.argv[1:])
