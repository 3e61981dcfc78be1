import { TopKError } from '@topk-attention/core';

/** What a model.json holds. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

export interface JsonObject {
  readonly [key: string]: Json;
}

/** A layer, or a model, as Keras and tfjs save it. Functional models give their layers a name and inbound nodes. */
export interface SavedLayer {
  readonly className: string;
  readonly name: string;
  readonly config: JsonObject;
  /** One list of references per use of the layer; undefined in a sequential model. */
  readonly nodes: readonly (readonly Reference[])[] | undefined;
  /** Everything as it was saved. */
  readonly saved: JsonObject;
}

/** A layer's output that another layer takes: [layer, node, tensor] and, in a call, its keyword arguments. */
export interface Reference {
  readonly layer: string;
  readonly node: number;
  readonly tensor: number;
  readonly kwargs: JsonObject;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? value : [];
}

/** A layer of a model's list. */
export function readLayer(value: Json): SavedLayer {
  if (!isObject(value) || typeof value.class_name !== 'string' || !isObject(value.config)) {
    // In old sequential models, the config itself is the list of layers.
    if (isObject(value) && value.class_name === 'Sequential' && Array.isArray(value.config)) {
      return readLayer({ ...value, config: { layers: value.config } });
    }
    throw malformed('a layer without class_name and config');
  }
  const named = value.name ?? value.config.name;
  return {
    className: value.class_name,
    name: typeof named === 'string' ? named : '',
    config: value.config,
    nodes: Array.isArray(value.inbound_nodes) ? value.inbound_nodes.map(readNode) : undefined,
    saved: value,
  };
}

function readNode(value: Json): readonly Reference[] {
  if (!Array.isArray(value)) throw malformed('inbound nodes that are not lists, as Keras 3 saves them');
  return value.map((one) => {
    const reference = readReference(one);
    if (reference === undefined) throw malformed('an inbound node that names no layer');
    return reference;
  });
}

/** A reference, or undefined where the value is not one. */
export function readReference(value: Json | undefined): Reference | undefined {
  const [layer, node, tensor, kwargs] = listOf(value);
  if (typeof layer !== 'string' || typeof node !== 'number' || typeof tensor !== 'number') return undefined;
  return { layer, node, tensor, kwargs: isObject(kwargs) ? kwargs : {} };
}

export function writeReference({ layer, node, tensor }: Reference): Json {
  return [layer, node, tensor, {}];
}

/** True for models inside a model. */
export function isContainer(layer: SavedLayer): boolean {
  return (
    ['Sequential', 'Model', 'Functional'].includes(layer.className) && Array.isArray(layer.config.layers)
  );
}

function malformed(what: string): TopKError {
  return new TopKError('INVALID_CONFIG', 'convert: the topology cannot be read', {
    expected: 'the topology of a LayersModel: Keras 2 JSON, or what model.toJSON() gives',
    got: what,
    fix: 'Save the model with tf.keras 2 (tf_keras) and tensorflowjs_converter, or with model.save() of tfjs',
  });
}
