import { type FileSource, openOptional, readOptionalText, readText } from '@topk-attention/nn';
import { createByteTokenizer } from '../text/byte-tokenizer.js';
import { tokenizerJsonOf } from '../text/sentence-piece.js';
import { createTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { readConfig } from './config-reader.js';
import { SENTENCE_PIECE, TOKENIZER, TOKENIZER_CONFIG } from './files.js';
import { readVocabulary } from './read-vocabulary.js';

/** T5's `<extra_id_N>`, where tokenizer_config.json does not say how many. */
const EXTRA_IDS = 100;

/**
 * The tokenizer of a folder: tokenizer.json, else the spiece.model of a T5, the vocab.txt of a BERT, or the vocab.json and
 * merges.txt of a GPT-2 or RoBERTa.
 *
 * @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT, UNSUPPORTED, INVALID_CONFIG.
 */
export async function readTokenizer(source: FileSource): Promise<TextTokenizer> {
  const config = await readOptionalText(source, TOKENIZER_CONFIG);
  const definition = await readOptionalText(source, TOKENIZER);
  if (definition === undefined && config !== undefined) {
    const bytes = readByteTokenizer(config, `${source.name}: ${TOKENIZER_CONFIG}`);
    if (bytes !== undefined) return bytes;
  }
  return createTokenizer(
    definition ??
      (await readSentencePiece(source, config)) ??
      (await readVocabulary(source, config)) ??
      (await readText(
        source,
        TOKENIZER,
        'Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...), or pass tokenizer: false to work with token ids',
      )),
    config,
  );
}

/** ByT5's tokenizer, which needs no file, where tokenizer_config.json names it. */
function readByteTokenizer(config: string, file: string): TextTokenizer | undefined {
  const read = readConfig(config, file);
  if (read.value('tokenizer_class') !== 'ByT5Tokenizer') return undefined;
  return createByteTokenizer({ extraIds: read.whole('extra_ids', 0, 125) });
}

async function readSentencePiece(source: FileSource, config = '{}'): Promise<string | undefined> {
  const opened = await openOptional(source, SENTENCE_PIECE);
  if (opened === undefined) return undefined;
  try {
    const read = readConfig(config, `${source.name}: ${TOKENIZER_CONFIG}`);
    const extraIds = read.whole('extra_ids', 0, EXTRA_IDS);
    if (extraIds > 100_000) throw read.invalid('extra_ids', 'up to 100,000', extraIds);
    return tokenizerJsonOf(opened.name, await opened.read(0, opened.size), extraIds);
  } finally {
    await opened.close();
  }
}
