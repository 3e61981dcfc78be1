import { type Backend, tensor } from '@topk-attention/core';
import { disposeParameters, initialize, type ParameterTree, trainableExcept } from '@topk-attention/nn';
import { type Batch, documentsOf } from '../model/batches.js';
import { classifier } from '../model/classifier.js';
import type { MechanismSettings, ModelSettings } from '../model/settings.js';
import { trainingLoss } from '../training/loss.js';
import type { Prepared } from './studies.js';

const SEED = 42;

/** Settings of the same model for documents of another length, without a bound of their task. */
function settingsAt(settings: ModelSettings, length: number): ModelSettings {
  const beside = settings.positionRows - settings.paddedTokens;
  return { ...settings, tokens: length, paddedTokens: length, positionRows: length + beside };
}

/**
 * A step of training on one full document (two where a task compares two), without the optimiser.
 *
 * @throws TopKError INVALID_OPTION, UNSUPPORTED for a mechanism that refuses the model
 */
export function trainingStep(
  backend: Backend,
  settings: ModelSettings,
  mechanism: MechanismSettings,
  length: number,
): Prepared {
  const sizes = settingsAt(settings, length);
  const model = classifier(sizes, mechanism);
  const all = initialize(backend, model, SEED);
  const isTrainable = trainableExcept(model);
  const part = (wanted: boolean): ParameterTree =>
    Object.fromEntries(Object.entries(all).filter(([name]) => isTrainable(name) === wanted));
  const [tensors, buffers] = [part(true), part(false)];
  const batch = fullDocument(sizes);
  const documents = documentsOf(backend, batch);
  const labels = tensor(backend, batch.labels, [1]);
  return {
    tensors,
    apply: (of, seeds) => trainingLoss(model, { ...of, ...buffers }, { documents, labels }, seeds),
    dispose: () => disposeParameters({ ...buffers, ...documents, labels }),
  };
}

/** Symbols without a short period, no padding. */
function fullDocument({ tokens, tokenRows, zeroPixel, pair }: ModelSettings): Batch {
  const count = pair === 'none' ? 1 : 2;
  const at = (of: (place: number) => number): Int32Array =>
    Int32Array.from({ length: count * tokens }, (_, index) => of(index % tokens));
  return {
    examples: 1,
    tokens,
    ids: at((place) => 1 + ((place * place + 7 * place) % (tokenRows - 1))),
    lengths: new Int32Array(count).fill(tokens),
    ...(zeroPixel === 'masked' && { places: at((place) => place) }),
    labels: Int32Array.of(0),
  };
}
