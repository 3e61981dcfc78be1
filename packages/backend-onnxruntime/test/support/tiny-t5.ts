import { sizeOf, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ExportableT5, ExportedLayer, T5Settings } from '../../src/export/index.js';

const config: T5Settings = {
  vocabSize: 30,
  dModel: 12,
  dKv: 4,
  dFf: 20,
  encoderLayers: 2,
  decoderLayers: 2,
  heads: 2,
  buckets: 8,
  maxDistance: 16,
  epsilon: 1e-6,
  dropoutRate: 0.1,
  activation: 'relu',
  gated: false,
  tiedEmbeddings: true,
  scaledOutputs: true,
  padId: 0,
  eosIds: [1],
  decoderStartId: 0,
};

/** Names and shapes of the parameters of a T5. */
function parametersOf(settings: T5Settings): readonly (readonly [name: string, shape: readonly number[]])[] {
  const { dModel, dKv, dFf, heads, buckets, vocabSize } = settings;
  const all: [string, readonly number[]][] = [];
  const add = (name: string, ...shape: readonly number[]): void => {
    all.push([name, shape]);
  };
  const inner = heads * dKv;
  add('shared.weight', vocabSize, dModel);
  if (!settings.tiedEmbeddings) add('lm_head.weight', vocabSize, dModel);
  for (const stack of ['encoder', 'decoder'] as const) {
    add(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`, buckets, heads);
    add(`${stack}.final_layer_norm.weight`, dModel);
    const kinds = stack === 'encoder' ? ['SelfAttention'] : ['SelfAttention', 'EncDecAttention'];
    for (let block = 0; block < settings[`${stack}Layers`]; block++) {
      for (const [at, kind] of kinds.entries()) {
        const sublayer = `${stack}.block.${block}.layer.${at}`;
        add(`${sublayer}.layer_norm.weight`, dModel);
        for (const role of ['q', 'k', 'v']) add(`${sublayer}.${kind}.${role}.weight`, dModel, inner);
        add(`${sublayer}.${kind}.o.weight`, inner, dModel);
      }
      const sublayer = `${stack}.block.${block}.layer.${kinds.length}`;
      add(`${sublayer}.layer_norm.weight`, dModel);
      for (const name of settings.gated ? ['wi_0', 'wi_1'] : ['wi'])
        add(`${sublayer}.DenseReluDense.${name}.weight`, dModel, dFf);
      add(`${sublayer}.DenseReluDense.wo.weight`, dFf, dModel);
    }
  }
  return all;
}

/** A T5 as exporters see one. */
function t5Of(
  settings: T5Settings,
  layer: Partial<ExportedLayer>,
  weightOf: (shape: readonly number[]) => Tensor,
): ExportableT5 {
  const parameters = parametersOf(settings).map(([name, shape]) => [name, weightOf(shape)] as const);
  const whole: ExportedLayer = {
    attention: 'exact',
    crossAttention: 'exact',
    feedForward: 'exact',
    ...layer,
  };
  const paths = (['encoder', 'decoder'] as const).flatMap((stack) =>
    Array.from({ length: settings[`${stack}Layers`] }, (_, index) => `${stack}.${index}`),
  );
  return {
    config: settings,
    parameters: Object.fromEntries(parameters),
    layerChoices: Object.fromEntries(paths.map((path) => [path, whole])),
  };
}

/** A T5 with random weights; the same for the same settings. */
export function tinyT5(layer: Partial<ExportedLayer> = {}, settings: Partial<T5Settings> = {}): ExportableT5 {
  const backend = createReferenceBackend();
  let place = 0;
  return t5Of({ ...config, ...settings }, layer, (shape) => {
    const values = Float32Array.from({ length: sizeOf(shape) }, () => Math.sin(++place * 12.9898) * 0.4);
    return tensor(backend, values, [...shape]);
  });
}

/**
 * A T5 with more than 2 GiB of weights in either file, all of them the same number. It takes little memory: weights of one
 * shape are one tensor.
 */
export function largeT5(number: number): ExportableT5 {
  const layers = { encoderLayers: 17, decoderLayers: 17 };
  const settings = { ...config, ...layers, dModel: 512, heads: 8, dKv: 64, dFf: 32_768 };
  const backend = createReferenceBackend();
  const known = new Map<string, Tensor>();
  return t5Of(settings, {}, (shape) => {
    const key = `${shape}`;
    const made = known.get(key) ?? tensor(backend, new Float32Array(sizeOf(shape)).fill(number), [...shape]);
    known.set(key, made);
    return made;
  });
}
