import { exactAttention, type Tensor, topKAttention } from '@topk-attention/core';
import { attentionBackward, attentionForward } from '@topk-attention/core/backend';
import { createTfjsBackend, fromTf, type TfjsBackend, toTf } from '@topk-attention/tfjs';
import type { Loaded, TfTensor } from './engines.js';
import type { Outputs, Runner } from './method.js';
import type { Inputs, Tile } from './setup.js';

/** This package, through its public interface; a tile of no queries leaves the chunk to the plan. */
const chunkOf = ({ queries }: Tile): { queryChunk?: number } =>
  queries === 0 ? {} : { queryChunk: queries };

/** Hands the tf.Tensor of a result to the caller, who disposes of it. */
function takeOver({ tf }: Loaded, tensor: Tensor): TfTensor {
  const own = tf.clone(toTf(tensor));
  tensor.dispose();
  return own;
}

async function withBackend(
  loaded: Loaded,
  run: (backend: TfjsBackend, inputs: Inputs, tile: Tile) => Outputs,
): Promise<Runner> {
  const backend = await createTfjsBackend({ tf: loaded.tf });
  return {
    run: (inputs, tile) => run(backend, inputs, tile),
    close: async () => backend.dispose(),
  };
}

export function ownForward(which: 'all' | 'kept'): (loaded: Loaded) => Promise<Runner> {
  return (loaded) =>
    withBackend(loaded, (backend, inputs, tile) => {
      const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) => fromTf(backend, one)) as Tensors;
      const output =
        which === 'all'
          ? exactAttention(q, k, v, chunkOf(tile))
          : topKAttention(q, k, v, { k: inputs.setup.k, ...chunkOf(tile) });
      for (const one of [q, k, v]) one.dispose();
      return { output: takeOver(loaded, output) };
    });
}

/** Lists of the forward pass for the backward passes of all methods that want them. */
export async function keptLists(
  loaded: Loaded,
  inputs: Inputs,
): Promise<{ indices: TfTensor; scores: TfTensor }> {
  const backend = await createTfjsBackend({ tf: loaded.tf });
  const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) => fromTf(backend, one)) as Tensors;
  const { output, indices, scores } = attentionForward(q, k, v, { k: inputs.setup.k });
  for (const one of [q, k, v, output]) one.dispose();
  const lists = {
    indices: takeOver(loaded, indices as Tensor),
    scores: takeOver(loaded, scores as Tensor),
  };
  await backend.dispose();
  return lists;
}

export function exactBackward(loaded: Loaded): Promise<Runner> {
  return withBackend(loaded, (backend, inputs, tile) => {
    const { q, k, v, dOutput } = inputs;
    const own = [q, k, v, dOutput].map((one) => fromTf(backend, one));
    const [ownQ, ownK, ownV, gradient] = own as [...Tensors, Tensor];
    const made = attentionBackward(ownQ, ownK, ownV, { k: 'all', ...chunkOf(tile) }, {}, gradient);
    for (const one of own) one.dispose();
    return { q: takeOver(loaded, made.q), k: takeOver(loaded, made.k), v: takeOver(loaded, made.v) };
  });
}

export function ownBackward(loaded: Loaded): Promise<Runner> {
  return withBackend(loaded, (backend, inputs, tile) => {
    const { q, k, v, indices, scores, dOutput } = inputs;
    const own = [q, k, v, indices, scores, dOutput].map((one) => fromTf(backend, one as TfTensor));
    const [ownQ, ownK, ownV, ownIndices, ownScores, gradient] = own as [...Tensors, ...Tensors];
    const options = { k: inputs.setup.k, ...chunkOf(tile) };
    const made = attentionBackward(
      ownQ,
      ownK,
      ownV,
      options,
      { indices: ownIndices, scores: ownScores },
      gradient,
    );
    for (const one of own) one.dispose();
    return { q: takeOver(loaded, made.q), k: takeOver(loaded, made.k), v: takeOver(loaded, made.v) };
  });
}

type Tensors = [Tensor, Tensor, Tensor];
