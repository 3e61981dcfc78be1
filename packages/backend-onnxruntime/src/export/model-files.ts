import { TopKError } from '@topk-attention/core';
import type { LazyBytes } from '../onnx/lazy-bytes.js';
import type { GraphProto, ModelProto, TensorProto } from '../onnx/messages.js';
import { encodeLazy } from '../onnx/write-model.js';
import { type ExportedFile, exportedFile } from './exported-file.js';

/** Operator set 20 has Gelu; ONNX Runtime reads it from 1.17 on. */
const OPSET = 20;
const IR_VERSION = 9;
/** What a file holds at most, with room for the nodes: protobuf, and downloads in browsers, end at 2 GiB. */
const MOST_BYTES = 2 ** 31 - 2 ** 24;
/** Where weights begin in a file of their own: on a page, so that they can be mapped into memory. */
const ALIGNMENT = 4096;
/** TensorProto.DataLocation */
const EXTERNAL = 1;

/** Whether weights lie in files beside the model; `'auto'`: where it would reach 2 GiB with them. */
export type ExternalData = boolean | 'auto';

/** A model as the files that it is written as. */
export interface ModelFiles {
  readonly name: string;
  /** By their names; the first one is the model. */
  readonly files: { readonly [name: string]: ExportedFile };
  /** How many of them hold weights alone. */
  readonly dataFiles: number;
}

/**
 * @param name The name of the model's file; those of weights are NAME_data, NAME_data_1, ..., as transformers.js asks for.
 * @param weightOf The values of an initializer that has none.
 * @throws TopKError UNSUPPORTED for a model that is too large for one file.
 */
export function modelFiles(
  name: string,
  graph: GraphProto,
  weightOf: (tensor: TensorProto) => LazyBytes,
  externalData: ExternalData,
): ModelFiles {
  const weights = new Map(
    graph.initializer
      .filter(({ rawData }) => rawData === undefined)
      .map((tensor) => [tensor, weightOf(tensor)] as const),
  );
  const bytes = [...weights.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  if (externalData === false && bytes > MOST_BYTES) {
    throw new TopKError('UNSUPPORTED', `exportOnnx: ${name} is too large for one file`, {
      expected: `at most ${MOST_BYTES} bytes of weights`,
      got: `${bytes}`,
      fix: 'Leave out externalData: false, so that weights get files of their own',
    });
  }
  const isExternal = externalData === 'auto' ? bytes > MOST_BYTES : externalData;
  if (!isExternal) {
    return { name, files: { [name]: exportedFile(encodeLazy(modelOf(graph), weights).parts) }, dataFiles: 0 };
  }
  const data = new DataFiles(`${name}_data`);
  const initializer = graph.initializer.map((tensor) => {
    const values = weights.get(tensor);
    return values === undefined ? tensor : data.add(tensor, values);
  });
  const { parts } = encodeLazy(modelOf({ ...graph, initializer }), new Map());
  return { name, files: { [name]: exportedFile(parts), ...data.files() }, dataFiles: data.count };
}

function modelOf(graph: GraphProto): ModelProto {
  return {
    irVersion: IR_VERSION,
    producerName: 'topk-attention',
    graph,
    opsetImport: [{ domain: '', version: OPSET }],
  };
}

/** Files of weights, each below 2 GiB unless a single weight is larger. */
class DataFiles {
  readonly #name: string;
  readonly #files: (Uint8Array | LazyBytes)[][] = [];
  #end = 0;

  constructor(name: string) {
    this.#name = name;
  }

  get count(): number {
    return this.#files.length;
  }

  files(): { readonly [name: string]: ExportedFile } {
    return Object.fromEntries(
      this.#files.map((content, index) => [this.#nameOf(index), exportedFile(content)]),
    );
  }

  /** Puts values into a file, and says in the tensor where they are. */
  add(tensor: TensorProto, values: LazyBytes): TensorProto {
    let offset = Math.ceil(this.#end / ALIGNMENT) * ALIGNMENT;
    if (this.#files.length === 0 || offset + values.byteLength > MOST_BYTES) {
      this.#files.push([]);
      [this.#end, offset] = [0, 0];
    }
    const content = this.#files.at(-1) as (Uint8Array | LazyBytes)[];
    if (offset > this.#end) content.push(new Uint8Array(offset - this.#end));
    content.push(values);
    this.#end = offset + values.byteLength;
    const place = { location: this.#nameOf(this.#files.length - 1), offset, length: values.byteLength };
    return {
      ...tensor,
      dataLocation: EXTERNAL,
      externalData: Object.entries(place).map(([key, value]) => ({ key, value: String(value) })),
    };
  }

  #nameOf(index: number): string {
    return index === 0 ? this.#name : `${this.#name}_${index}`;
  }
}
