import type { io } from '@tensorflow/tfjs-core';
import { TopKError } from '@topk-attention/core';
import { type ConvertOptions, requireOptions } from './options.js';
import type { ConversionReport } from './report.js';
import { type JoinedLayer, rewriteTopology } from './rewrite.js';
import { isObject, type Json, type JsonObject } from './saved-model.js';

const where = 'convertModelArtifacts';

/**
 * Converts a saved layers model before it is loaded: its `MultiHeadAttention` layers into `TopKMultiHeadAttention`, its
 * pairs of dense layers into `TopKFeedForward`. For Keras models with multi-head attention, which tfjs-layers 4.22 does
 * not load: it does not export that class, and its models cannot run it.
 *
 * Takes what an IO handler loads, and returns it with a new topology and new weight names; the weights' data is
 * shared. The training configuration is dropped: compile the loaded model. Keys that are masked for a query get weight
 * 0; if all are, the new layer gives zeros, where Keras gives the mean of all values.
 *
 * @throws TopKError INVALID_CONFIG for artifacts without a layers model's topology; INVALID_K, INVALID_OPTION.
 *
 * @example
 * topKLayers(tf); // registers the classes
 * const handler = tf.io.http('model.json');
 * const { artifacts } = convertModelArtifacts(await handler.load!(), { attention: { k: 64 }, feedForward: { k: 256 } });
 * const model = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
 */
export function convertModelArtifacts(
  artifacts: io.ModelArtifacts,
  options: ConvertOptions,
): { readonly artifacts: io.ModelArtifacts; readonly report: ConversionReport } {
  requireOptions(where, options);
  const { trainingConfig: _dropped, ...rest } = artifacts;
  const { topology, joined, report } = rewriteTopology(topologyOf(artifacts), options);
  return {
    artifacts: {
      ...rest,
      modelTopology: topology,
      ...(artifacts.weightSpecs && {
        weightSpecs: artifacts.weightSpecs.map((spec) => renamed(spec, joined)),
      }),
    },
    report,
  };
}

function topologyOf({ modelTopology }: io.ModelArtifacts): JsonObject {
  const topology = modelTopology as Json | undefined;
  if (isObject(topology)) return topology;
  throw new TopKError('INVALID_CONFIG', `${where}: no topology`, {
    expected: 'the artifacts of a LayersModel, with a modelTopology',
    got: modelTopology === undefined ? 'none' : typeof modelTopology,
    fix: 'Pass what load() of an IO handler returns',
  });
}

/**
 * Weights of a pair under the new layer's names: 'dense/kernel', or 'dense/anything/kernel', which tfjs reads the same
 * way, becomes 'dense_1/intermediate/kernel'.
 */
function renamed(spec: io.WeightsManifestEntry, joined: readonly JoinedLayer[]): io.WeightsManifestEntry {
  if (spec.group === 'optimizer') return spec;
  const words = spec.name.split('/');
  const layers = [words.slice(0, -1).join('/'), words.slice(0, -2).join('/')];
  for (const { name, from } of joined) {
    const at = from.findIndex((one) => layers.includes(one));
    if (at >= 0) return { ...spec, name: `${name}/${at === 0 ? 'intermediate' : 'output'}/${words.at(-1)}` };
  }
  return spec;
}
