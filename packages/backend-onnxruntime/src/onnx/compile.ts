import type { GraphBuilder } from './graph-builder.js';
import { encodeModel } from './write-model.js';

/** A model for the engine, with the names of its inputs and outputs in the order of feeds and results. */
export interface CompiledModel {
  readonly model: Uint8Array;
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
}

export function compileModel(
  onnx: GraphBuilder,
  inputNames: readonly string[],
  outputNames: readonly string[],
): CompiledModel {
  return { model: encodeModel(onnx.model()), inputNames, outputNames };
}
