import type { io, Tensor as TfTensor } from '@tensorflow/tfjs-core';
import type * as tfl from '@tensorflow/tfjs-layers';
import { TopKError } from '@topk-attention/core';
import { expect } from 'vitest';
import type { Tf } from '../../src/index.js';

/** As `@tensorflow/tfjs` does it: one object with the functions of both packages. */
export type WholeTf = Omit<Tf, 'default'> & Omit<typeof tfl, 'default'>;

export async function withLayers(tf: Tf): Promise<WholeTf> {
  return { ...tf, ...(await import('@tensorflow/tfjs-layers')) };
}

/** Values in -1 to 1 that repeat nowhere, so that no two scores tie. */
export const numbers = (shape: readonly number[], seed: number): Float32Array =>
  Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) =>
    Math.sin(1.7 * i + 12.9 * seed),
  );

export function largestDifference(a: TfTensor, b: TfTensor): number {
  expect(a.shape).toEqual(b.shape);
  const [left, right] = [a.dataSync(), b.dataSync()];
  return Math.max(...Array.from(left, (one, i) => Math.abs(one - (right[i] as number))));
}

export function thrownBy(run: () => unknown): TopKError {
  try {
    run();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** What `layer.apply` and `model.predict` of one tensor return. */
export const one = (result: unknown): TfTensor => result as TfTensor;

/** What a file would hold of a model. */
export async function savedArtifacts(tf: WholeTf, model: tfl.LayersModel): Promise<io.ModelArtifacts> {
  let saved: io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  const { modelTopology, ...rest } = saved as io.ModelArtifacts;
  return { ...rest, modelTopology: JSON.parse(JSON.stringify(modelTopology)) };
}
