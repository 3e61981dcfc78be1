import type { ConvertOptions } from './options.js';
import {
  type Json,
  type JsonObject,
  type Reference,
  readReference,
  type SavedLayer,
  writeReference,
} from './saved-model.js';

export function isAttention(layer: SavedLayer): boolean {
  return layer.className === 'MultiHeadAttention';
}

/** Config that the new layer shares with Keras' own, by name and meaning. */
const handedOn = [
  'name',
  'trainable',
  'num_heads',
  'key_dim',
  'value_dim',
  'dropout',
  'use_bias',
  'output_shape',
  'kernel_initializer',
  'bias_initializer',
  'kernel_regularizer',
  'bias_regularizer',
  'kernel_constraint',
  'bias_constraint',
] as const;

const understood = [
  'value',
  'key',
  'attention_mask',
  'use_causal_mask',
  'training',
  'return_attention_scores',
];

/** The layer with top-k attention, or the reason it stays unchanged. */
export function convertAttention(
  layer: SavedLayer,
  { k }: NonNullable<ConvertOptions['attention']>,
): JsonObject | string {
  const { config, nodes = [] } = layer;
  const [node, ...others] = nodes;
  if (node === undefined || others.length > 0) return `it is applied ${nodes.length} times, not once`;
  const whyNot = whyNoSettings(config);
  if (whyNot !== undefined) return whyNot;
  const call = readCall(node);
  if (typeof call === 'string') return call;
  return {
    class_name: 'TopKMultiHeadAttention',
    name: layer.name,
    config: {
      ...Object.fromEntries(
        handedOn.map((key) => [key, config[key] ?? null]).filter(([, value]) => value !== null),
      ),
      k,
      causal: call.causal,
    },
    inbound_nodes: [call.inputs.map(writeReference)],
  };
}

function whyNoSettings(config: JsonObject): string | undefined {
  const { attention_axes: axes = null, query_shape: queryShape = null } = config;
  const isOverLength = axes === null || axes === 1 || (Array.isArray(axes) && axes.join() === '1');
  if (!isOverLength) return `it attends over the axes ${JSON.stringify(axes)}, not over the second`;
  if (Array.isArray(queryShape) && queryShape.length !== 3) return 'its query is not [batch, length, dim]';
  return (config.activity_regularizer ?? null) === null ? undefined : 'it has an activity regularizer';
}

interface Call {
  /** query, value, key and mask, as needed. */
  readonly inputs: readonly Reference[];
  readonly causal: boolean;
}

/** Keras passes value, key and mask as keyword arguments of the query, tfjs as further inputs. */
function readCall(node: readonly Reference[]): Call | string {
  const [query, ...positional] = node;
  if (query === undefined) return 'it has no query';
  const { kwargs } = query;
  const unknown = Object.entries(kwargs).find(
    ([name, value]) => !understood.includes(name) && value !== null,
  );
  if (unknown !== undefined) return `it is called with ${unknown[0]}`;
  if (kwargs.return_attention_scores === true) return 'it returns its attention scores';
  const given = (name: string, at: number): Reference | undefined =>
    readReference(kwargs[name] as Json) ?? positional[at];
  for (const name of ['value', 'key', 'attention_mask']) {
    const value = kwargs[name] ?? null;
    if (value !== null && readReference(value) === undefined) return `its ${name} is not a layer's output`;
  }
  const value = given('value', 0);
  if (value === undefined) return 'it has no value';
  const key = given('key', 1) ?? value;
  const mask = given('attention_mask', 2);
  const causal = kwargs.use_causal_mask === true;
  if (causal && !isSame(query, value)) {
    return 'its causal mask is aligned to the start, and query and value may differ in length';
  }
  if (mask !== undefined) return { inputs: [query, value, key, mask], causal };
  if (!isSame(key, value)) return { inputs: [query, value, key], causal };
  return { inputs: isSame(query, value) ? [query] : [query, value], causal };
}

function isSame(a: Reference, b: Reference): boolean {
  return a.layer === b.layer && a.node === b.node && a.tensor === b.tensor;
}
