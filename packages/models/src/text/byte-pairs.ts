import { TopKError } from '@topk-attention/core';
import { addedTokensOf, type OlderTokens, withoutToken } from './older-tokens.js';

/** What tokenizer_config.json says of a tokenizer of GPT-2's kind. */
export interface BytePairSettings {
  /** 'roberta' puts tokens around each text. */
  readonly kind: 'gpt2' | 'roberta';
  /** Whether a text begins as if a space were before it. */
  readonly addsSpace: boolean;
  /** Of GPT-2's: whether the first token of a text is the `bos_token`. */
  readonly addsStart: boolean;
}

const ROLES = [
  ...['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'],
] as const;

/**
 * The contents of vocab.json and merges.txt of GPT-2 or RoBERTa as those of the tokenizer.json that Python's transformers makes
 * of them.
 *
 * @throws TopKError FILE_CORRUPT for other contents, and for a vocabulary without the tokens that are put around a text.
 */
export function tokenizerJsonOfPairs(
  file: string,
  { vocabulary, merges }: { readonly vocabulary: string; readonly merges: string },
  { kind, addsSpace, addsStart }: BytePairSettings,
  tokens: OlderTokens,
): string {
  const ids = vocabularyOf(file, vocabulary);
  const known = (role: string): readonly [content: string, id: number] => {
    const content = tokens.special(role);
    const id = content === undefined ? undefined : (ids.get(content) ?? tokens.added.get(content));
    if (content === undefined || id === undefined) throw withoutToken(file, role, content);
    return [content, id];
  };
  const byteLevel = { type: 'ByteLevel', trim_offsets: true, use_regex: true };
  const around =
    kind === 'roberta'
      ? {
          type: 'RobertaProcessing',
          sep: known('sep_token'),
          cls: known('cls_token'),
          trim_offsets: true,
          add_prefix_space: addsSpace,
        }
      : templateOf(addsStart ? known('bos_token') : undefined);
  return JSON.stringify({
    version: '1.0',
    added_tokens: addedTokensOf(ids, tokens, ROLES),
    normalizer: null,
    pre_tokenizer: { ...byteLevel, add_prefix_space: addsSpace },
    post_processor: around,
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      type: 'BPE',
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      vocab: Object.fromEntries(ids),
      merges: mergesOf(file, merges, ids),
    },
  });
}

function templateOf(start: readonly [content: string, id: number] | undefined): object {
  const [content, id] = start ?? [];
  const of = (sequence: string, type: number): readonly object[] => [
    ...(content === undefined ? [] : [{ SpecialToken: { id: content, type_id: type } }]),
    { Sequence: { id: sequence, type_id: type } },
  ];
  return {
    type: 'TemplateProcessing',
    single: of('A', 0),
    pair: [...of('A', 0), ...of('B', 1)],
    special_tokens: content === undefined ? {} : { [content]: { id: content, ids: [id], tokens: [content] } },
  };
}

function vocabularyOf(file: string, text: string): ReadonlyMap<string, number> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw corrupt(file, 'vocab.json is not JSON', cause);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw corrupt(file, 'vocab.json is no object');
  const ids = new Map<string, number>();
  for (const [piece, id] of Object.entries(json)) {
    if (!Number.isSafeInteger(id) || id < 0)
      throw corrupt(file, `vocab.json has no id for ${JSON.stringify(piece)}`);
    ids.set(piece, id);
  }
  return ids;
}

/** Lines of two pieces, after one that names the version. */
function mergesOf(file: string, text: string, ids: ReadonlyMap<string, number>): readonly string[][] {
  const merges: string[][] = [];
  for (const line of text.split(/\r\n|\n|\r/)) {
    if (line === '' || line.startsWith('#version')) continue;
    const pair = line.split(' ');
    if (pair.length !== 2 || !ids.has(pair.join('')) || pair.some((piece) => !ids.has(piece)))
      throw corrupt(
        file,
        `merges.txt joins ${JSON.stringify(line.slice(0, 80))}, which the vocabulary does not have`,
      );
    merges.push(pair);
  }
  return merges;
}

function corrupt(file: string, what: string, cause?: unknown): TopKError {
  return new TopKError('FILE_CORRUPT', `${file}: ${what}`, {
    fix: 'Use the files that belong to the model, or save its tokenizer as tokenizer.json in Python',
    cause,
  });
}
