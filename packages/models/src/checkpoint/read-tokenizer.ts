import { TopKError } from '@topk-attention/core';
import { type FileSource, openOptional, readOptionalText, readText } from '@topk-attention/nn';
import { createByteTokenizer } from '../text/byte-tokenizer.js';
import { tokenizerJsonOf } from '../text/sentence-piece.js';
import { createTokenizer, type TextTokenizer } from '../text/tokenizer.js';
import { tokenizerJsonOfWords } from '../text/word-piece.js';
import { type ConfigReader, readConfig } from './config-reader.js';
import { SENTENCE_PIECE, TOKENIZER, TOKENIZER_CONFIG, WORD_PIECE } from './files.js';

/** T5's `<extra_id_N>`, where tokenizer_config.json does not say how many. */
const EXTRA_IDS = 100;

/**
 * The tokenizer of a folder: tokenizer.json, else the spiece.model of a T5 or the vocab.txt of a BERT.
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
      (await readWordPiece(source, config)) ??
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

/** Classes whose vocab.txt is BERT's; others split words by other means. */
const WORD_PIECE_CLASSES = /^(Bert|ConvBert|DistilBert|Electra|MobileBert|SqueezeBert)Tokenizer(Fast)?$/;

async function readWordPiece(source: FileSource, config = '{}'): Promise<string | undefined> {
  const vocabulary = await readOptionalText(source, WORD_PIECE);
  if (vocabulary === undefined) return undefined;
  const read = readConfig(config, `${source.name}: ${TOKENIZER_CONFIG}`);
  const name = read.value('tokenizer_class') ?? 'BertTokenizer';
  if (typeof name !== 'string' || !WORD_PIECE_CLASSES.test(name)) {
    throw new TopKError('UNSUPPORTED', `${source.name}: ${WORD_PIECE} of another tokenizer`, {
      expected: 'tokenizer.json, or a tokenizer_class of the kind of BertTokenizer',
      got: `tokenizer_class ${JSON.stringify(name)}`,
      fix: 'Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...)',
    });
  }
  const accents = read.value('strip_accents') ?? undefined;
  return tokenizerJsonOfWords(`${source.name}: ${WORD_PIECE}`, vocabulary, {
    lowercase: read.boolean('do_lower_case', true),
    ...(accents !== undefined && { stripAccents: read.boolean('strip_accents', false) }),
    splitChinese: read.boolean('tokenize_chinese_chars', true),
    special: {
      unknown: specialToken(read, 'unk_token', '[UNK]'),
      start: specialToken(read, 'cls_token', '[CLS]'),
      end: specialToken(read, 'sep_token', '[SEP]'),
      padding: specialToken(read, 'pad_token', '[PAD]'),
      mask: specialToken(read, 'mask_token', '[MASK]'),
    },
  });
}

/** A token, as text or as an object with its `content`. */
function specialToken(read: ConfigReader, key: string, fallback: string): string {
  const value = read.value(key) ?? fallback;
  const content = typeof value === 'object' && 'content' in value ? value.content : value;
  if (typeof content === 'string' && content !== '') return content;
  throw read.invalid(key, 'a token', value);
}
