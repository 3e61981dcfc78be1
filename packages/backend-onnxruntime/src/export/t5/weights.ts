import { sizeOf, type Tensor, type TensorData, TopKError } from '@topk-attention/core';
import { halfToNumber, numberToHalf } from '@topk-attention/core/reference';
import { elementTypes } from '../../onnx/data-types.js';
import type { GraphBuilder } from '../../onnx/graph-builder.js';
import type { LazyBytes } from '../../onnx/lazy-bytes.js';
import type { TensorProto } from '../../onnx/messages.js';

/** Element types of weights in files. */
export type WeightType = 'f32' | 'f16';

/** The weights of a model, each read from its backend when a file needs it. */
export class Weights {
  readonly #parameters: { readonly [name: string]: Tensor };

  constructor(parameters: { readonly [name: string]: Tensor }) {
    this.#parameters = parameters;
  }

  /** Puts a weight into a graph, or finds it there. @throws TopKError MISSING_WEIGHT */
  in(onnx: GraphBuilder, name: string, type: WeightType): string {
    return onnx.weight(name, type, this.#get(name).shape);
  }

  /** @throws TopKError MISSING_WEIGHT */
  async numbers(name: string): Promise<Float32Array> {
    const tensor = this.#get(name);
    return numbersOf(tensor, await tensor.data());
  }

  /** The bytes of an initializer that `in` made. */
  bytesOf({ name = '', dataType, dims }: TensorProto): LazyBytes {
    const isHalf = dataType === elementTypes.f16;
    return {
      byteLength: sizeOf(dims) * (isHalf ? 2 : 4),
      read: async () => {
        const numbers = await this.numbers(name);
        const { buffer, byteOffset, byteLength } = isHalf ? halvesOf(name, numbers) : numbers;
        return new Uint8Array(buffer, byteOffset, byteLength);
      },
    };
  }

  #get(name: string): Tensor {
    const tensor = this.#parameters[name];
    if (tensor !== undefined) return tensor;
    throw new TopKError('MISSING_WEIGHT', `exportOnnx: parameter ${name} is missing`, {
      expected: 'every parameter of the configuration',
      got: 'nothing',
      fix: 'Export a model as loadT5 or createT5 makes it',
    });
  }
}

function numbersOf({ dtype }: Tensor, data: TensorData): Float32Array {
  if (data instanceof Float32Array) return data;
  return Float32Array.from(data, dtype === 'f16' ? halfToNumber : Number);
}

const INFINITE_HALF = 0x7c00;

/** @throws TopKError UNSUPPORTED for numbers that would become infinite. */
export function halvesOf(name: string, numbers: Float32Array): Uint16Array {
  const halves = new Uint16Array(numbers.length);
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at] as number;
    const half = numberToHalf(number);
    if ((half & 0x7fff) === INFINITE_HALF && Number.isFinite(number)) {
      throw new TopKError('UNSUPPORTED', `exportOnnx: ${name} does not fit half precision`, {
        expected: 'numbers between -65504 and 65504',
        got: `${number}`,
        fix: "Export with dtype: 'float32'",
      });
    }
    halves[at] = half;
  }
  return halves;
}
