import type * as tfl from '@tensorflow/tfjs-layers';
import { TopKError } from '@topk-attention/core';
import type { FullTf } from '../layers/full-tf.js';
import type { LayersTf } from '../layers/layers-tf.js';
import { topKLayers } from '../layers/top-k-layers.js';
import { type ConvertOptions, requireOptions } from './options.js';
import type { ConversionReport } from './report.js';
import { type JoinedLayer, rewriteTopology } from './rewrite.js';
import { isObject, type Json } from './saved-model.js';

/** What `convertLayersModel` needs from the caller's tf: in addition to `topKLayers`, `LayersModel` and `models`. */
export type ConvertTf = LayersTf & {
  readonly LayersModel: abstract new (...args: never[]) => object;
  readonly models: { modelFromJSON(topology: never): Promise<object> };
};

type Model = tfl.LayersModel;
type FullConvertTf = FullTf & {
  readonly LayersModel: typeof tfl.LayersModel;
  readonly models: typeof tfl.models;
};

const where = 'convertLayersModel';

/**
 * A new model with the weights of `model`, in which `TopKFeedForward` layers replace pairs of dense layers (a dense
 * layer with relu, gelu, gelu_new or swish, and a linear one that is the only user of its output), and
 * `TopKMultiHeadAttention` layers replace multi-head attention layers. Works on sequential and functional models and
 * models nested in them. The report names what was converted, and similar layers left unchanged, with the reason. With
 * k no smaller than the numbers of keys and hidden units, the outputs are those of `model`.
 *
 * `model` is not changed. The two models have separate variables, which share their data until one of them is trained.
 * The new model is not compiled; it trains, saves and loads as any other. Loading needs the classes: call
 * `topKLayers(tf)` first.
 *
 * tfjs-layers 4.22 contains a `MultiHeadAttention`, but does not export it, and models cannot run it: their executor
 * drops the layer's keyword arguments, and the layer's weights are not the model's. Convert a saved Keras model that
 * has such layers with `convertModelArtifacts` before it is loaded. Layers of that class name are converted here if
 * they hold their weights as Keras' do.
 *
 * @throws TopKError INVALID_K, INVALID_OPTION; MISSING_PEER when tf has no tfjs-layers; UNSUPPORTED for a model with
 * tfjs-layers' own MultiHeadAttention; INVALID_CONFIG when tfjs cannot save and load the model's topology.
 *
 * @example
 * const { model, report } = await convertLayersModel(tf, original, { feedForward: { k: 256 } });
 */
export async function convertLayersModel<T extends ConvertTf>(
  tf: T,
  model: InstanceType<T['LayersModel']>,
  options: ConvertOptions,
): Promise<{ readonly model: InstanceType<T['LayersModel']>; readonly report: ConversionReport }>;
export async function convertLayersModel(
  tf: FullConvertTf,
  model: Model,
  options: ConvertOptions,
): Promise<{ readonly model: Model; readonly report: ConversionReport }> {
  requireOptions(where, options);
  topKLayers(tf);
  const given: Json = JSON.parse(requireModel(model).toJSON(null, true) as string);
  if (!isObject(given)) throw unreadable(new TypeError('toJSON() did not return an object'));
  const { topology, joined, report } = rewriteTopology(given, options);
  let made: Model;
  try {
    made = await tf.models.modelFromJSON(topology as Parameters<typeof tf.models.modelFromJSON>[0]);
  } catch (cause) {
    throw unreadable(cause);
  }
  copyWeights(model, made, [], joined);
  return { model: made, report };
}

/** Layer by layer: names are unique within a model, not across the models nested in it. */
function copyWeights(from: Model, to: Model, path: readonly string[], joined: readonly JoinedLayer[]): void {
  for (const layer of to.layers) {
    const pair = joined.find((one) => one.name === layer.name && one.path.join('/') === path.join('/'));
    const sources = (pair?.from ?? [layer.name]).map((name) => from.getLayer(name));
    const [source] = sources;
    if (isModel(layer) && source !== undefined && isModel(source)) {
      copyWeights(source, layer, [...path, layer.name], joined);
      continue;
    }
    layer.setWeights(sources.flatMap((one) => one.getWeights()));
  }
}

function isModel(layer: object): layer is Model {
  return 'layers' in layer && Array.isArray(layer.layers) && 'getLayer' in layer;
}

function requireModel(model: Model): Model {
  const given: unknown = model;
  if (typeof given === 'object' && given !== null && 'toJSON' in given && isModel(given)) {
    requireOwnWeights(model);
    return model;
  }
  throw new TopKError('INVALID_OPTION', `${where}: not a layers model`, {
    expected: 'a tf.LayersModel, as tf.model(), tf.sequential() and tf.loadLayersModel() return',
    got: given === null ? 'null' : typeof given,
    fix: 'Graph models (tf.loadGraphModel) have no layers to convert',
  });
}

function requireOwnWeights(model: Model): void {
  for (const layer of model.layers) {
    if (isModel(layer)) requireOwnWeights(layer);
    if (layer.getClassName() !== 'MultiHeadAttention' || layer.weights.length > 0) continue;
    throw new TopKError('UNSUPPORTED', `${where}: ${layer.name} holds no weights`, {
      expected: "layers whose weights are the model's",
      got: "tfjs-layers' own MultiHeadAttention, which no model can run or save",
      fix: 'Convert the saved Keras model with convertModelArtifacts, or build it with TopKMultiHeadAttention',
    });
  }
}

function unreadable(cause: unknown): TopKError {
  return new TopKError('INVALID_CONFIG', `${where}: tfjs cannot build the model from its own topology`, {
    expected: 'a model that model.toJSON() saves and tf.models.modelFromJSON() loads',
    got: cause instanceof Error ? cause.message : String(cause),
    fix: 'Register the classes of its custom layers (tf.serialization.registerClass)',
    cause,
  });
}
