import type { Activation } from '@topk-attention/core';
import { goldensFolder, readBytes, readJson } from '../../harness/support/golden-files.js';
import type { Nd } from '../../harness/support/nd.js';
import { parseSafetensors } from '../../harness/support/safetensors.js';

/** One line of goldens/manifest.json, written by tooling/goldens. */
export interface GoldenEntry {
  readonly name: string;
  readonly op:
    | 'topKAttention'
    | 'exactAttention'
    | 'topKFeedForward'
    | 'randomBits'
    | 'relativePositionBucket';
  readonly options: GoldenOptions;
  readonly file: string;
  /** Role to tensor name. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly gradients: Readonly<Record<string, string>>;
  /** Tensor name of the cotangent of the output; absent if there are no gradients. */
  readonly cotangent?: string;
  readonly anchors: readonly number[];
  readonly notes: string;
}

interface GoldenOptions {
  readonly k?: number;
  readonly scale?: number;
  readonly causal?: boolean;
  readonly queryChunk?: number;
  readonly dropout?: { readonly rate: number; readonly seed: number };
  readonly relativeBias?: { readonly bidirectional: boolean; readonly maxDistance: number };
  readonly activation?: Activation;
  readonly select?: 'preactivation' | 'contribution';
  readonly seed?: number;
  readonly offset?: readonly [number, number, number, number];
  readonly shape?: readonly number[];
  readonly buckets?: number;
  readonly bidirectional?: boolean;
  readonly maxDistance?: number;
}

export interface Goldens {
  readonly entries: readonly GoldenEntry[];
  /** Tensors of a golden file by name; each file is read once. */
  tensors(file: string): Promise<ReadonlyMap<string, Nd>>;
}

export async function loadGoldens(base: URL = goldensFolder): Promise<Goldens> {
  const manifest: { readonly cases: readonly GoldenEntry[] } = await readJson(new URL('manifest.json', base));
  const files = new Map<string, Promise<ReadonlyMap<string, Nd>>>();
  return {
    entries: manifest.cases,
    tensors(file) {
      const before = files.get(file);
      if (before !== undefined) return before;
      const loading = readBytes(new URL(file, base)).then(parseSafetensors);
      files.set(file, loading);
      return loading;
    },
  };
}
