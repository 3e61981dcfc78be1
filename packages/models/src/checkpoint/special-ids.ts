import type { ConfigReader } from './config-reader.js';

/** The special ids of a configuration. */
interface SpecialIds {
  readonly vocabSize: number;
  readonly padId: number;
  readonly eosIds: readonly number[];
  /** Of an encoder-decoder. */
  readonly decoderStartId?: number;
}

/** @throws TopKError INVALID_CONFIG for a special id that is not one of the vocabulary. */
export function checkSpecialIds(
  { vocabSize, padId, eosIds, decoderStartId }: SpecialIds,
  read: ConfigReader,
): void {
  for (const [key, ids] of [
    ['pad_token_id', [padId]],
    ['decoder_start_token_id', decoderStartId === undefined ? [] : [decoderStartId]],
    ['eos_token_id', eosIds],
  ] as const) {
    const bad = ids.find((id) => id >= vocabSize);
    if (bad !== undefined) throw read.invalid(key, `an id below vocab_size ${vocabSize}`, bad);
  }
}
