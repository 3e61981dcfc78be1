import { readFileSync } from 'node:fs';

/** What `manifest.json` says of a model. */
export interface TestModel {
  readonly name: string;
  readonly family: string;
  readonly exporter: string;
  /** How transformers computes attention: `eager`, or PyTorch's fused function, `sdpa`. */
  readonly attention: string;
  /** Attention blocks in the file. */
  readonly blocks: number;
  /** Feed-forward layers in the file. */
  readonly layers: number;
  /** How the file was made smaller, if it was: `int8`, `fp16`, `q4`. */
  readonly variant?: string;
  readonly bytes: number;
  readonly sha256: string;
}

const manifest: { readonly models: readonly TestModel[] } = JSON.parse(
  readFileSync(new URL('../manifest.json', import.meta.url), 'utf8'),
);

export const testModels: readonly TestModel[] = manifest.models;

/** The file of a model of the manifest. */
export function readTestModel(name: string): Uint8Array {
  return readFileSync(new URL(`../models/${name}.onnx`, import.meta.url));
}
