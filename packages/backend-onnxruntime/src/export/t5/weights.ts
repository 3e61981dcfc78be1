import { type Tensor, TopKError } from '@topk-attention/core';
import type { GraphBuilder } from '../../onnx/graph-builder.js';

/** One weight as it stands in a file. */
export interface Weight {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** The weights of a model, read from its backend once, for both files. */
export class Weights {
  readonly #weights: ReadonlyMap<string, Weight>;

  private constructor(weights: ReadonlyMap<string, Weight>) {
    this.#weights = weights;
  }

  static async read(parameters: { readonly [name: string]: Tensor }): Promise<Weights> {
    const weights = new Map<string, Weight>();
    for (const [name, tensor] of Object.entries(parameters)) {
      const data = await tensor.data();
      weights.set(name, {
        dims: tensor.shape,
        data: data instanceof Float32Array ? data : Float32Array.from(data, Number),
      });
    }
    return new Weights(weights);
  }

  /** @throws TopKError MISSING_WEIGHT */
  get(name: string): Weight {
    const weight = this.#weights.get(name);
    if (weight !== undefined) return weight;
    throw new TopKError('MISSING_WEIGHT', `exportOnnx: parameter ${name} is missing`, {
      expected: 'every parameter of the configuration',
      got: 'nothing',
      fix: 'Export a model as loadT5 or createT5 makes it',
    });
  }

  /** Puts a weight into a graph, or finds it there. */
  in(onnx: GraphBuilder, name: string): string {
    const { dims, data } = this.get(name);
    return onnx.weight(name, dims, data);
  }
}
