import { TopKError } from '@topk-attention/core';
import { type FileSource, readOptionalText, readText } from '@topk-attention/nn';
import { tokenizerJsonOfPairs } from '../text/byte-pairs.js';
import type { OlderTokens } from '../text/older-tokens.js';
import { idsOfLines, tokenizerJsonOfWords } from '../text/word-piece.js';
import { type ConfigReader, readConfig } from './config-reader.js';
import {
  ADDED_TOKENS,
  BYTE_PAIRS,
  CONFIG,
  MERGES,
  SPECIAL_TOKENS,
  TOKENIZER_CONFIG,
  WORD_PIECE,
} from './files.js';

type Kind = 'bert' | 'gpt2' | 'roberta';

/** Classes that split words as BERT's, GPT-2's and RoBERTa's; others with files of these names do it by other means. */
const CLASSES: { readonly [kind in Kind]: RegExp } = {
  bert: /^(Bert|ConvBert|DistilBert|Electra|MobileBert|SqueezeBert)Tokenizer(Fast)?$/,
  gpt2: /^GPT2Tokenizer(Fast)?$/,
  roberta: /^RobertaTokenizer(Fast)?$/,
};

/** Where tokenizer_config.json names no class, the model's family decides. */
const FAMILIES: { readonly [type: string]: Kind } = {
  bert: 'bert',
  distilbert: 'bert',
  gpt2: 'gpt2',
  roberta: 'roberta',
};

const pairTokens = { unk_token: '<|endoftext|>', bos_token: '<|endoftext|>', eos_token: '<|endoftext|>' };
const SPECIAL: { readonly [kind in Kind]: { readonly [role: string]: string } } = {
  bert: {
    ...{ unk_token: '[UNK]', sep_token: '[SEP]', pad_token: '[PAD]' },
    ...{ cls_token: '[CLS]', mask_token: '[MASK]' },
  },
  gpt2: pairTokens,
  roberta: {
    ...{ bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', sep_token: '</s>' },
    ...{ cls_token: '<s>', pad_token: '<pad>', mask_token: '<mask>' },
  },
};

/**
 * What would be the tokenizer.json of a folder with vocab.txt, or with vocab.json and merges.txt; undefined without them.
 *
 * @throws TopKError FILE_CORRUPT, INVALID_CONFIG; UNSUPPORTED for other tokenizers with files of these names.
 */
export async function readVocabulary(source: FileSource, config = '{}'): Promise<string | undefined> {
  const words = await readOptionalText(source, WORD_PIECE);
  const text = words ?? (await readOptionalText(source, BYTE_PAIRS));
  if (text === undefined) return undefined;
  const read = readConfig(config, `${source.name}: ${TOKENIZER_CONFIG}`);
  const kind = await kindOf(source, read);
  if (kind === undefined || (kind === 'bert') !== (words !== undefined)) {
    throw new TopKError('UNSUPPORTED', `${source.name}: the files of another tokenizer`, {
      expected:
        'tokenizer.json, or a tokenizer_class of the kind of BertTokenizer, GPT2Tokenizer or RobertaTokenizer',
      got: `tokenizer_class ${JSON.stringify(read.value('tokenizer_class') ?? null)}, ${words === undefined ? BYTE_PAIRS : WORD_PIECE}`,
      fix: 'Save it with AutoTokenizer.from_pretrained(...).save_pretrained(...)',
    });
  }
  const vocabulary =
    words === undefined ? idsOf(readConfig(text, `${source.name}: ${BYTE_PAIRS}`)) : idsOfLines(words);
  const tokens = { vocabulary, ...(await readTokens(source, read, SPECIAL[kind])) };
  if (kind === 'bert') {
    const accents = read.value('strip_accents') ?? undefined;
    const settings = {
      lowercase: read.boolean('do_lower_case', true),
      ...(accents !== undefined && { stripAccents: read.boolean('strip_accents', false) }),
      splitChinese: read.boolean('tokenize_chinese_chars', true),
    };
    return tokenizerJsonOfWords(`${source.name}: ${WORD_PIECE}`, settings, tokens);
  }
  const merges = await readText(source, MERGES, 'It belongs to vocab.json');
  const settings = {
    kind,
    addsSpace: read.boolean('add_prefix_space', false),
    addsStart: read.boolean('add_bos_token', false),
  };
  return tokenizerJsonOfPairs(source.name, merges, settings, tokens);
}

async function kindOf(source: FileSource, read: ConfigReader): Promise<Kind | undefined> {
  const name = read.value('tokenizer_class');
  if (name !== undefined && name !== null) {
    return (Object.keys(CLASSES) as Kind[]).find((kind) => CLASSES[kind].test(String(name)));
  }
  const model = readConfig((await readOptionalText(source, CONFIG)) ?? '{}', `${source.name}: ${CONFIG}`);
  const type = model.value('model_type');
  return typeof type === 'string' && Object.hasOwn(FAMILIES, type) ? FAMILIES[type] : undefined;
}

/** Names in special_tokens_map.json come before those in tokenizer_config.json, and those before the usual ones. */
async function readTokens(
  source: FileSource,
  read: ConfigReader,
  usual: { readonly [role: string]: string },
): Promise<Omit<OlderTokens, 'vocabulary'>> {
  const own = async (file: string): Promise<ConfigReader> =>
    readConfig((await readOptionalText(source, file)) ?? '{}', `${source.name}: ${file}`);
  const [map, added] = [await own(SPECIAL_TOKENS), await own(ADDED_TOKENS)];
  const additional = map.value('additional_special_tokens') ?? read.value('additional_special_tokens') ?? [];
  if (!Array.isArray(additional)) throw map.invalid('additional_special_tokens', 'a list', additional);
  return {
    special(role) {
      const reader = map.value(role) === undefined ? read : map;
      const value = reader.value(role);
      return value === undefined || value === null ? usual[role] : contentOf(reader, role, value);
    },
    added: idsOf(added),
    additional: additional.map((one) => contentOf(map, 'additional_special_tokens', one)),
  };
}

/** Of a file that has an id for each token. */
const idsOf = (read: ConfigReader): ReadonlyMap<string, number> =>
  new Map(read.keys.map((content) => [content, read.whole(content, 0)]));

/** A token, as text or as an object with its `content`. */
function contentOf(read: ConfigReader, key: string, value: unknown): string {
  const content = typeof value === 'object' && value !== null && 'content' in value ? value.content : value;
  if (typeof content === 'string' && content !== '') return content;
  throw read.invalid(key, 'a token', value);
}
