import type { Backend, Tensor } from '@topk-attention/core';
import type { Run } from '@topk-attention/nn';
import type { Decoder, DecoderEvents } from '../generation/decoder.js';
import { paddedLength } from '../generation/padded-length.js';
import { runSteps } from '../generation/run-steps.js';
import { afterHeads, embed, type Heads, headsOf } from './blocks.js';
import { CausalState, isRecorded } from './decoder-state.js';
import { rotaryOf } from './forward.js';
import type { CausalLayers } from './layers.js';
import { type PaddedTokens, uploadPadded } from './padded-tokens.js';

/** Decoding with a decoder-only model: reads the prompts into caches, then continues from them. */
export function causalDecoder(run: Run, model: CausalLayers): Decoder<CausalState> {
  return {
    start: (prompts, events) => start(run, model, prompts, events),
    step: (state, tokens) => state.logits(tokens),
    ...(isRecorded(run, model) && {
      best: (state: CausalState, tokens?: readonly number[]) => state.best(tokens),
    }),
  };
}

/**
 * Reads all tokens of the prompts but the last, which the first step is fed. Rows of other lengths are padded on the left,
 * so that all stand at one place of the caches. What pads them all on the right is written over later, and hidden until then.
 */
async function start(
  run: Run,
  model: CausalLayers,
  prompts: readonly (readonly number[])[],
  { interruption, onProgress }: DecoderEvents,
): Promise<CausalState> {
  const { backend } = model.embedding;
  const longest = prompts.reduce((most, row) => Math.max(most, row.length), 0);
  const padding = prompts.map((row) => longest - row.length);
  const length = longest - 1;
  const read = length === 0 ? 0 : paddedLength(backend, length);
  const state = new CausalState(run, model, prompts, padding, read);
  try {
    if (read === 0) return state;
    const tokens = uploadPrompts(backend, model, prompts, padding, read);
    try {
      const steps = promptSteps(run, model, tokens, read, (index, heads) =>
        state.write(index, heads, length),
      );
      const last = await runSteps(steps, prompts.length * read, interruption, (done) =>
        onProgress?.({ stage: 'encode', done, total: model.config.layers }),
      );
      last.dispose();
    } finally {
      for (const one of [tokens.ids, tokens.positions, tokens.mask]) one?.dispose();
    }
    return state;
  } catch (error) {
    state.dispose();
    throw error;
  }
}

function uploadPrompts(
  backend: Backend,
  { config }: CausalLayers,
  prompts: readonly (readonly number[])[],
  padding: readonly number[],
  read: number,
): PaddedTokens {
  const rows = prompts.map((prompt, row) => {
    const before = Array.from({ length: padding[row] as number }, () => config.padId);
    const tokens = [...before, ...prompt.slice(0, -1)];
    return [...tokens, ...Array.from({ length: read - tokens.length }, () => config.padId)];
  });
  // The row of a prompt of one token is all padding: its only token is fed to the first step.
  return uploadPadded(backend, rows, padding, config.rotary === undefined ? config.maxPositions : read);
}

/**
 * The blocks over prompts, one per step: each yields the residual stream after it and owns it until the next step. Hands
 * the heads of each block to `onHeads`, which borrows them.
 */
function* promptSteps(
  run: Run,
  model: CausalLayers,
  { ids, positions, mask }: PaddedTokens,
  length: number,
  onHeads: (index: number, heads: Heads) => void,
): Generator<Tensor, Tensor> {
  const { config } = model;
  const turn = rotaryOf(model, length, mask === undefined ? undefined : positions);
  let x: Tensor | undefined;
  try {
    x = embed(run, model, ids, positions);
    for (const [index, block] of model.blocks.entries()) {
      const heads = headsOf(config, block, x, turn);
      try {
        onHeads(index, heads);
        // Of the last block nothing else is wanted, except by hooks.
        if (index < model.blocks.length - 1 || run.trace !== undefined) {
          const options = { ...block.attention.sequence, ...(mask && { mask }) };
          const before = x;
          x = afterHeads(run, config, block, before, heads, options);
          before.dispose();
        }
      } finally {
        for (const one of [heads.query, heads.key, heads.value]) one.dispose();
      }
      yield x;
    }
    return x.alias();
  } finally {
    x?.dispose();
    turn?.cosines.dispose();
    turn?.sines.dispose();
  }
}
