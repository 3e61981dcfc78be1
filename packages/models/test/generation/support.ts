import { noDefaults } from '../../src/generation/generation-config.js';
import type { GenerationSettings } from '../../src/generation/settings.js';
import { type Strategy, type StrategyContext, strategyOf } from '../../src/generation/strategy.js';

/** A call of `generateBatch` on a model with a tokenizer. */
export const batchCall: StrategyContext = {
  where: 'test',
  isBatch: true,
  isStreamed: false,
  hasTokenizer: true,
  vocabSize: 100,
  eosIds: [1],
};

/** The strategy of such a call. */
export function strategy(settings: GenerationSettings, eosIds: readonly number[] = [1]): Strategy {
  return strategyOf(settings, noDefaults, { ...batchCall, eosIds });
}
