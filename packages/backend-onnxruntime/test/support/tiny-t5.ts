import { tensor } from '@topk-attention/core';
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

/** A T5 with random weights, as exporters see one; the same for the same settings. */
export function tinyT5(layer: Partial<ExportedLayer> = {}, settings: Partial<T5Settings> = {}): ExportableT5 {
  const own = { ...config, ...settings };
  const { dModel, dKv, dFf, heads, buckets, vocabSize } = own;
  const backend = createReferenceBackend();
  const parameters: { [name: string]: ReturnType<typeof tensor> } = {};
  let place = 0;
  const add = (name: string, ...shape: number[]): void => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const data = Float32Array.from({ length: size }, () => Math.sin(++place * 12.9898) * 0.4);
    parameters[name] = tensor(backend, data, shape);
  };
  const inner = heads * dKv;
  add('shared.weight', vocabSize, dModel);
  if (!own.tiedEmbeddings) add('lm_head.weight', vocabSize, dModel);
  for (const stack of ['encoder', 'decoder'] as const) {
    add(`${stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`, buckets, heads);
    add(`${stack}.final_layer_norm.weight`, dModel);
    const kinds = stack === 'encoder' ? ['SelfAttention'] : ['SelfAttention', 'EncDecAttention'];
    for (let block = 0; block < (stack === 'encoder' ? own.encoderLayers : own.decoderLayers); block++) {
      for (const [at, kind] of kinds.entries()) {
        const sublayer = `${stack}.block.${block}.layer.${at}`;
        add(`${sublayer}.layer_norm.weight`, dModel);
        for (const role of ['q', 'k', 'v']) add(`${sublayer}.${kind}.${role}.weight`, dModel, inner);
        add(`${sublayer}.${kind}.o.weight`, inner, dModel);
      }
      const sublayer = `${stack}.block.${block}.layer.${kinds.length}`;
      add(`${sublayer}.layer_norm.weight`, dModel);
      for (const name of own.gated ? ['wi_0', 'wi_1'] : ['wi'])
        add(`${sublayer}.DenseReluDense.${name}.weight`, dModel, dFf);
      add(`${sublayer}.DenseReluDense.wo.weight`, dFf, dModel);
    }
  }
  const whole: ExportedLayer = {
    attention: 'exact',
    crossAttention: 'exact',
    feedForward: 'exact',
    ...layer,
  };
  const paths = ['encoder.0', 'encoder.1', 'decoder.0', 'decoder.1'];
  return { config: own, parameters, layerChoices: Object.fromEntries(paths.map((path) => [path, whole])) };
}
