import { fill, mul, type Tensor } from '@topk-attention/core';
import {
  createT5,
  type LayerChoices,
  parseT5Config,
  type T5,
  t5ParameterSpecs,
} from '@topk-attention/models';
import type { WebGpuBackend } from '@topk-attention/webgpu';
import { Timestamps } from './clock.js';
import { hashed } from './data.js';

export interface TokenRateRow {
  readonly attention: string;
  readonly isRecorded: boolean;
  readonly tokens: number;
  /** From the call to the first token: the encoder, and the first step. */
  readonly firstMs: number;
  /** Of the whole call. */
  readonly perSecond: number;
  /** Of the second half of the tokens. */
  readonly steadyPerSecond: number;
  readonly launchesPerToken: number;
  /** Milliseconds on the GPU by kernel, a token; empty without timestamps. */
  readonly kernels: Readonly<Record<string, number>>;
}

export interface TokenRateOptions {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly hidden: number;
  readonly vocabulary: number;
  readonly sourceTokens: number;
  readonly newTokens: number;
  readonly k: number;
}

/** Greedy decoding with a T5 of random weights, which never ends a sequence. Its encoder has one layer. */
export async function tokenRates(
  backend: WebGpuBackend,
  { sourceTokens, newTokens, k, ...sizes }: TokenRateOptions,
): Promise<readonly TokenRateRow[]> {
  const model = await randomT5(backend, sizes);
  const source = Array.from({ length: sourceTokens }, (_, at) => 2 + ((at * 7919) % (sizes.vocabulary - 2)));
  const rows: TokenRateRow[] = [];
  const kinds: Readonly<Record<string, LayerChoices>> = {
    exact: {},
    [`top-k ${k}`]: { attention: { k }, crossAttention: { k } },
  };
  for (const [attention, choices] of Object.entries(kinds)) {
    const ids: (readonly number[])[] = [];
    for (const isRecorded of [false, true]) {
      // Once to compile and to fill pools.
      await decode(model, source, { choices, newTokens: Math.min(8, newTokens), isRecorded });
      const { launches } = backend.stream.counts;
      const { times, ids: own } = await decode(model, source, { choices, newTokens, isRecorded });
      ids.push(own);
      const [first, last, middle] = [times[0], times.at(-1), times[times.length >> 1]] as [
        number,
        number,
        number,
      ];
      rows.push({
        attention,
        isRecorded,
        tokens: newTokens,
        firstMs: first,
        perSecond: (1000 * newTokens) / last,
        steadyPerSecond: (1000 * (times.length - 1 - (times.length >> 1))) / (last - middle),
        launchesPerToken: (backend.stream.counts.launches - launches) / newTokens,
        kernels: await kernelsOf(backend, (count) =>
          decode(model, source, { choices, newTokens: count, isRecorded }),
        ),
      });
    }
    const [called, recorded] = ids as [readonly number[], readonly number[]];
    const other = called.findIndex((id, at) => id !== recorded[at]);
    if (other >= 0)
      throw new Error(`${attention}: token ${other} is ${called[other]}, recorded ${recorded[other]}`);
  }
  model.dispose();
  return rows;
}

/** A decoder's tokens differ little: what two more of them add. */
async function kernelsOf(
  backend: WebGpuBackend,
  run: (tokens: number) => Promise<unknown>,
): Promise<Readonly<Record<string, number>>> {
  if (!backend.device.features.has('timestamp-query')) return {};
  const totals: ReadonlyMap<string, number>[] = [];
  for (const tokens of [4, 6]) {
    const stamps = new Timestamps(backend.device);
    Object.assign(backend.stream, { profile: stamps });
    await run(tokens);
    Object.assign(backend.stream, { profile: undefined });
    totals.push((await stamps.read()).byKernel);
  }
  const [few, more] = totals as [ReadonlyMap<string, number>, ReadonlyMap<string, number>];
  return Object.fromEntries([...more].map(([name, ms]) => [name, (ms - (few.get(name) ?? 0)) / 2]));
}

/** Ids, and the time of each since the call, in ms. A hook keeps steps from being recorded. */
async function decode(
  model: T5,
  source: readonly number[],
  call: { readonly choices: LayerChoices; readonly newTokens: number; readonly isRecorded: boolean },
): Promise<{ readonly ids: readonly number[]; readonly times: readonly number[] }> {
  const times: number[] = [];
  const from = performance.now();
  const { ids } = await model.generate(source, {
    ...call.choices,
    maxNewTokens: call.newTokens,
    onToken: () => times.push(performance.now() - from),
    ...(!call.isRecorded && { trace: {} }),
  });
  return { ids, times };
}

async function randomT5(
  backend: WebGpuBackend,
  sizes: Pick<TokenRateOptions, 'layers' | 'width' | 'heads' | 'hidden' | 'vocabulary'>,
): Promise<T5> {
  const { layers, width, heads, hidden, vocabulary } = sizes;
  const config = {
    ...parseT5Config(
      JSON.stringify({
        model_type: 't5',
        vocab_size: vocabulary,
        d_model: width,
        d_kv: width / heads,
        d_ff: hidden,
        num_layers: 1,
        num_decoder_layers: layers,
        num_heads: heads,
        relative_attention_num_buckets: 32,
        relative_attention_max_distance: 128,
      }),
    ),
    eosIds: [],
  };
  const parameters: Record<string, Tensor> = {};
  for (const [at, { name, shape, transposed }] of t5ParameterSpecs(config).entries()) {
    const own = transposed ? [...shape].reverse() : shape;
    if (name.includes('norm')) {
      parameters[name] = fill(backend, 1, own);
      continue;
    }
    const normal = await hashed(backend, own, at + 1);
    parameters[name] = mul(normal, name.includes('embed') || name.includes('shared') ? 1 : width ** -0.5);
    normal.dispose();
  }
  return createT5(config, parameters);
}
