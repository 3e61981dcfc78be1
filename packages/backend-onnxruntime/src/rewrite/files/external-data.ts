import { TopKError } from '@topk-attention/core';
import { subgraphsOf } from '../../onnx/attributes.js';
import type { GraphProto, ModelProto, TensorProto } from '../../onnx/messages.js';
import { externalValuesOf } from '../../onnx/tensor-values.js';
import { nodeModules } from './node-modules.js';

/** A file beside a model that holds values of its tensors. */
export interface ExternalFile {
  /** Relative to the model's folder, as the model says it. */
  readonly location: string;
  readonly path: string;
}

/**
 * The files that a model's tensors refer to, each once.
 *
 * @param folder The folder of the model's file.
 * @throws TopKError FILE_CORRUPT for a location outside of the folder; FILE_NOT_FOUND for a file that is not there;
 * FILE_TRUNCATED for one that ends before a tensor does.
 */
export async function externalFiles(model: ModelProto, folder: string): Promise<readonly ExternalFile[]> {
  const ends = new Map<string, { readonly end: number; readonly tensor: string }>();
  for (const tensor of tensorsOf(model.graph as GraphProto)) {
    const values = externalValuesOf(tensor);
    if (values === undefined) continue;
    const end = values.offset + (values.length ?? 0);
    if (end >= (ends.get(values.location)?.end ?? 0))
      ends.set(values.location, { end, tensor: tensor.name ?? '' });
  }
  const files: ExternalFile[] = [];
  for (const [location, { end, tensor }] of ends) files.push(await openable(folder, location, end, tensor));
  return files;
}

function* tensorsOf(graph: GraphProto): Iterable<TensorProto> {
  yield* graph.initializer;
  for (const node of graph.node) {
    for (const { t, tensors = [] } of node.attribute) yield* t === undefined ? tensors : [t, ...tensors];
    for (const inner of subgraphsOf(node)) yield* tensorsOf(inner);
  }
}

async function openable(
  folder: string,
  location: string,
  end: number,
  tensor: string,
): Promise<ExternalFile> {
  const { fs, path } = await nodeModules();
  const outside = (got: string): TopKError =>
    new TopKError('FILE_CORRUPT', `tensor ${tensor}: its values are outside of the model's folder`, {
      expected: 'a path that stays in the folder of the model',
      got,
      fix: 'Do not use the file, or export the model again',
    });
  // A drive letter or a backslash leads out of the folder on Windows alone, but a file may travel.
  const parts = location.split(/[\\/]/);
  if (path.isAbsolute(location) || /^[a-z]:/i.test(location) || parts[0] === '' || parts.includes('..')) {
    throw outside(location);
  }
  const wanted = path.join(folder, location);
  let real: string;
  let size: number;
  try {
    real = await fs.realpath(wanted);
    const stats = await fs.stat(real);
    if (!stats.isFile()) throw new Error('not a file');
    size = stats.size;
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `tensor ${tensor}: the file of its values cannot be opened`, {
      expected: wanted,
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Put the file of the weights beside the model',
      cause,
    });
  }
  const inside = path.relative(await fs.realpath(folder), real);
  // Absolute on another drive of Windows.
  if (path.isAbsolute(inside) || inside.split(path.sep)[0] === '..') throw outside(real);
  if (size < end) {
    throw new TopKError('FILE_TRUNCATED', `tensor ${tensor}: the file of its values ends too early`, {
      expected: `at least ${end} bytes in ${wanted}`,
      got: `${size}`,
      fix: 'Download or export the file again',
    });
  }
  return { location, path: wanted };
}
