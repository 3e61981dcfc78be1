"""Encoders and decoders of models that read one text or sound and write another, with the names that optimum gives inputs."""

import torch
from transformers import (
    BartConfig,
    BartModel,
    DynamicCache,
    EncoderDecoderCache,
    MarianConfig,
    MarianModel,
    T5Config,
    T5Model,
    WhisperConfig,
    WhisperModel,
)

from sizes import HEADS, HIDDEN, LAYERS, LONGEST, VOCABULARY, WIDTH

BATCH = {0: "batch_size"}
TEXT = {0: "batch_size", 1: "encoder_sequence_length"}
TARGET = {0: "batch_size", 1: "decoder_sequence_length"}
SOURCE_LENGTH = 9
TARGET_LENGTH = 7
PAST_LENGTH = 5
# Sound is as long as the table of positions.
FRAMES = 24


class Encoder(torch.nn.Module):
    def __init__(self, model, *names):
        super().__init__()
        self.encoder = model.get_encoder()
        self.names = names

    def forward(self, *values):
        return self.encoder(**dict(zip(self.names, values)), return_dict=False)[0]


class Decoder(torch.nn.Module):
    """The decoder of a text without a past; it returns its own keys and values and those of the encoder."""

    def __init__(self, model, has_mask):
        super().__init__()
        self.decoder = model.get_decoder()
        self.has_mask = has_mask

    def forward(self, *values):
        input_ids, encoder_hidden_states, *mask = values
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        masks = {"encoder_attention_mask": mask[0]} if self.has_mask else {}
        output = self.decoder(
            input_ids=input_ids,
            encoder_hidden_states=encoder_hidden_states,
            past_key_values=cache,
            use_cache=True,
            **masks,
        )
        return output.last_hidden_state, *states(output.past_key_values, with_encoder=True)


class DecoderWithPast(torch.nn.Module):
    """The same with both as inputs: only those of the decoder grow."""

    def __init__(self, model, has_mask):
        super().__init__()
        self.decoder = model.get_decoder()
        self.has_mask = has_mask

    def forward(self, *values):
        input_ids, *past = values
        masks = {"encoder_attention_mask": past.pop(0)} if self.has_mask else {}
        own, encoder = DynamicCache(), DynamicCache()
        for layer in range(LAYERS):
            own.update(past[4 * layer], past[4 * layer + 1], layer)
            encoder.update(past[4 * layer + 2], past[4 * layer + 3], layer)
        output = self.decoder(
            input_ids=input_ids,
            # Its keys and values are at hand: only the extents are of use.
            encoder_hidden_states=past[2].transpose(1, 2).flatten(2),
            past_key_values=EncoderDecoderCache(own, encoder),
            use_cache=True,
            **masks,
        )
        return output.last_hidden_state, *states(output.past_key_values, with_encoder=False)


def states(cache, with_encoder):
    own, encoder = cache.self_attention_cache.layers, cache.cross_attention_cache.layers
    return [
        state
        for layer in range(LAYERS)
        for part in ([own[layer], encoder[layer]] if with_encoder else [own[layer]])
        for state in (part.keys, part.values)
    ]


def state_names(prefix, with_encoder):
    return [
        f"{prefix}.{layer}.{side}.{part}"
        for layer in range(LAYERS)
        for side in (("decoder", "encoder") if with_encoder else ("decoder",))
        for part in ("key", "value")
    ]


def ids(length, axes):
    return torch.randint(1, VOCABULARY, (2, length)), axes


def source_mask():
    mask = torch.ones(2, SOURCE_LENGTH, dtype=torch.int64)
    mask[0, 6:] = 0
    return mask, TEXT


def encoder_of(model, _has_mask):
    inputs = {"input_ids": ids(SOURCE_LENGTH, TEXT), "attention_mask": source_mask()}
    return Encoder(model, *inputs), inputs, ["last_hidden_state"]


def sound_encoder_of(model, _has_mask):
    inputs = {"input_features": (torch.randn(2, 8, 2 * FRAMES), BATCH)}
    return Encoder(model, *inputs), inputs, ["last_hidden_state"]


def decoder_of(model, has_mask):
    inputs = {
        "input_ids": ids(TARGET_LENGTH, TARGET),
        "encoder_hidden_states": (torch.randn(2, SOURCE_LENGTH, WIDTH), TEXT),
        **({"encoder_attention_mask": source_mask()} if has_mask else {}),
    }
    return Decoder(model, has_mask), inputs, ["last_hidden_state", *state_names("present", True)]


def decoder_with_past_of(model, has_mask):
    inputs = {
        "input_ids": ids(TARGET_LENGTH, TARGET),
        **({"encoder_attention_mask": source_mask()} if has_mask else {}),
    }
    for name in state_names("past_key_values", True):
        is_own = ".decoder." in name
        length = PAST_LENGTH if is_own else SOURCE_LENGTH
        axes = {0: "batch_size", 2: "past_decoder_sequence_length" if is_own else "encoder_sequence_length_out"}
        inputs[name] = (torch.randn(2, HEADS, length, WIDTH // HEADS), axes)
    return DecoderWithPast(model, has_mask), inputs, ["last_hidden_state", *state_names("present", False)]


def t5(attention):
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=HIDDEN,
        num_layers=LAYERS,
        num_heads=HEADS,
        attn_implementation=attention,
    )
    return T5Model(config)


def bart_sizes(attention):
    return {
        "vocab_size": VOCABULARY,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": HIDDEN,
        "decoder_ffn_dim": HIDDEN,
        "attn_implementation": attention,
    }


def bart(attention):
    return BartModel(BartConfig(max_position_embeddings=LONGEST, **bart_sizes(attention)))


def marian(attention):
    config = MarianConfig(
        max_position_embeddings=LONGEST, pad_token_id=0, decoder_start_token_id=0, **bart_sizes(attention)
    )
    return MarianModel(config)


def whisper(attention):
    config = WhisperConfig(
        max_source_positions=FRAMES,
        max_target_positions=LONGEST,
        num_mel_bins=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **bart_sizes(attention),
    )
    return WhisperModel(config)


def family(model, part, has_mask=True):
    return lambda attention: part(model(attention).eval(), has_mask)


MERGED = {"t5-decoder-merged": lambda attention: t5(attention).eval()}


# The encoder of T5 is among the other encoders.
FAMILIES = {
    "t5-decoder": family(t5, decoder_of),
    "t5-decoder-with-past": family(t5, decoder_with_past_of),
    "bart-encoder": family(bart, encoder_of),
    "bart-decoder": family(bart, decoder_of),
    "bart-decoder-with-past": family(bart, decoder_with_past_of),
    "marian-encoder": family(marian, encoder_of),
    "marian-decoder": family(marian, decoder_of),
    "marian-decoder-with-past": family(marian, decoder_with_past_of),
    "whisper-encoder": family(whisper, sound_encoder_of),
    "whisper-decoder": family(whisper, decoder_of, has_mask=False),
    "whisper-decoder-with-past": family(whisper, decoder_with_past_of, has_mask=False),
}
