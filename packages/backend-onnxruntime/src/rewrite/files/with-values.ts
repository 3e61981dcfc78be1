import type { AttributeProto, GraphProto, ModelProto, TensorProto } from '../../onnx/messages.js';
import { externalValuesOf } from '../../onnx/tensor-values.js';
import { externalFiles } from './external-data.js';
import { readFile } from './read-file.js';

/**
 * A model with the values in it that its file keeps in others: engines that are given bytes do not look for those.
 *
 * @param folder The folder of the model's file.
 * @throws TopKError as `externalFiles`; FILE_NOT_FOUND for a file that is too large to be read whole.
 */
export async function withValues(model: ModelProto, folder: string): Promise<ModelProto> {
  const files = new Map<string, Uint8Array>();
  for (const { location, path } of await externalFiles(model, folder))
    files.set(location, await readFile(path));
  return files.size === 0 ? model : { ...model, graph: graphWith(model.graph as GraphProto, files) };
}

type Files = ReadonlyMap<string, Uint8Array>;

function graphWith(graph: GraphProto, files: Files): GraphProto {
  return {
    ...graph,
    initializer: graph.initializer.map((tensor) => tensorWith(tensor, files)),
    node: graph.node.map((node) => ({
      ...node,
      attribute: node.attribute.map((attribute) => attributeWith(attribute, files)),
    })),
  };
}

function attributeWith(attribute: AttributeProto, files: Files): AttributeProto {
  const { t, g, graphs } = attribute;
  if (t !== undefined) return { ...attribute, t: tensorWith(t, files) };
  if (g !== undefined) return { ...attribute, g: graphWith(g, files) };
  return graphs === undefined
    ? attribute
    : { ...attribute, graphs: graphs.map((graph) => graphWith(graph, files)) };
}

function tensorWith(tensor: TensorProto, files: Files): TensorProto {
  const place = externalValuesOf(tensor);
  if (place === undefined) return tensor;
  const { dataLocation: _, externalData: _places, ...rest } = tensor;
  const { location, offset, length } = place;
  const end = length === undefined ? undefined : offset + length;
  return { ...rest, rawData: (files.get(location) as Uint8Array).subarray(offset, end) };
}
