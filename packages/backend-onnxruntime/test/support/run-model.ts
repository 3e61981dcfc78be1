import { sizeOf } from '@topk-attention/core';
import { halfToNumber, numberToHalf } from '@topk-attention/core/reference';
import * as ort from 'onnxruntime-node';
import { dataTypes } from '../../src/onnx/data-types.js';
import { dimsOf } from '../../src/onnx/dims.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { extentOf, symbolsOf } from '../../src/rewrite/extents/symbols.js';

export type Feeds = { readonly [name: string]: ort.Tensor };

export interface Output {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** A model in a session of its own. */
export interface OpenModel {
  /** Its outputs, which are floating-point numbers. */
  run(feeds: Feeds): Promise<readonly Output[]>;
  release(): Promise<void>;
}

/** For several runs of a model: to open it takes ten times as long as a run. */
export async function openModel(
  model: Uint8Array,
  options: ort.InferenceSession.SessionOptions = {},
): Promise<OpenModel> {
  // Small models: the threads of a pool would wait for each other in a loop.
  const engine = { logSeverityLevel: 3, intraOpNumThreads: 1 } as const;
  const session = await ort.InferenceSession.create(model, { ...engine, ...options });
  return {
    async run(feeds) {
      const outputs = await session.run(feeds);
      return session.outputNames.map((name) => {
        const { dims, data } = outputs[name] as ort.Tensor;
        // Half-precision numbers come as their bits.
        const isHalf = data instanceof Uint16Array;
        return { dims, data: isHalf ? Float32Array.from(data, halfToNumber) : (data as Float32Array) };
      });
    },
    release: () => session.release(),
  };
}

/** The outputs of a model, which are floating-point numbers. */
export async function runOutputs(
  model: Uint8Array,
  feeds: Feeds,
  options?: ort.InferenceSession.SessionOptions,
): Promise<readonly Output[]> {
  const opened = await openModel(model, options);
  const outputs = await opened.run(feeds);
  await opened.release();
  return outputs;
}

/** The first output of a model. */
export async function runModel(model: Uint8Array, feeds: Feeds): Promise<Output> {
  return (await runOutputs(model, feeds))[0] as Output;
}

/** The largest difference; infinite where one has a NaN and the other a number. */
export function largestGap(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (const [at, one] of a.entries()) {
    const other = b[at] as number;
    if (Number.isNaN(one) && Number.isNaN(other)) continue;
    const gap = Math.abs(one - other);
    largest = gap <= largest ? largest : Number.isNaN(gap) ? Number.POSITIVE_INFINITY : gap;
  }
  return largest;
}

/** Extents of the inputs of a test model. */
export interface InputExtents {
  readonly batch: number;
  readonly length: number;
  /** Tokens before the input, in models that take their keys and values. Default: 11. */
  readonly past?: number;
  /** Tokens of the encoder, in decoders of texts. Default: two more than the length. */
  readonly source?: number;
  /** Whether a merged decoder goes by its past. Default: true. */
  readonly isCached?: boolean;
}

/** The open extents of a test model by the names that its exporter gives them. */
export function extentsOf(model: Uint8Array, extents: InputExtents): ReadonlyMap<string, number> {
  const { batch, length, past = 11, source = length + 2, isCached = true } = extents;
  const valueOf = (name: string): number => {
    if (/batch/.test(name)) return batch;
    if (name === 'attention_mask_sequence_length') return isCached ? past + length : length;
    if (/past/.test(name)) return past;
    return /encoder/.test(name) ? source : length;
  };
  return new Map(symbolsOf(decodeModel(model)).map((name) => [name, valueOf(name)]));
}

/** Runs of a test model that take both branches of a merged decoder. */
export function runsOf(family: string, extents: readonly InputExtents[]): readonly InputExtents[] {
  if (!family.endsWith('merged')) return extents;
  return extents.flatMap((one) => [one, { ...one, isCached: false }]);
}

/** Inputs for a test model, by the names and types that it asks for. Later rows of a batch have padding. */
export function feedsOf(model: Uint8Array, extents: InputExtents): Feeds {
  const named = extentsOf(model, extents);
  const { graph } = decodeModel(model);
  return Object.fromEntries(
    (graph?.input ?? []).map((input) => {
      const { name = '' } = input;
      const dims = dimsOf(input)?.map((dim) => extentOf(dim, named) as number) ?? [];
      return [name, tensorOf(name, input.type?.tensorType?.elemType ?? 0, dims, extents.isCached ?? true)];
    }),
  );
}

function tensorOf(name: string, type: number, dims: readonly number[], isCached: boolean): ort.Tensor {
  const size = sizeOf(dims);
  const each = (value: (at: number) => number): readonly number[] =>
    Array.from({ length: size }, (_, at) => value(at));
  const wave = (at: number): number => Math.sin(at * (at % 7));
  switch (type) {
    case dataTypes.bool:
      return new ort.Tensor('bool', [isCached], dims);
    case dataTypes.float:
      return new ort.Tensor('float32', Float32Array.from(each(wave)), dims);
    case dataTypes.float16:
      return new ort.Tensor('float16', Uint16Array.from(each((at) => numberToHalf(wave(at)))), dims);
    default: {
      const width = dims.at(-1) as number;
      const kept = (row: number): number => width - row * Math.floor(width / 3);
      const value = (at: number): number => {
        const [row, column] = [Math.floor(at / width), at % width];
        return /mask/.test(name) ? Number(column < kept(row)) : 1 + ((row * 31 + column * 7) % 90);
      };
      return new ort.Tensor('int64', BigInt64Array.from(each(value), BigInt), dims);
    }
  }
}
