import { TopKError } from '@topk-attention/core';
import { addedTokensOf, type OlderTokens, tokenOf } from './older-tokens.js';
import { type Part, template } from './tokenizer-json.js';

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
 * The vocabulary of a GPT-2 or RoBERTa and the contents of merges.txt as the tokenizer.json that Python's transformers makes
 * of them.
 *
 * @throws TopKError FILE_CORRUPT for other merges, and for a vocabulary without the tokens that are put around a text.
 */
export function tokenizerJsonOfPairs(
  file: string,
  merges: string,
  { kind, addsSpace, addsStart }: BytePairSettings,
  tokens: OlderTokens,
): string {
  const byteLevel = { type: 'ByteLevel', trim_offsets: true, use_regex: true };
  const pairOf = (role: string): readonly [content: string, id: number] => {
    const { content, id } = tokenOf(file, tokens, role);
    return [content, id];
  };
  const ofStart = (type: number): readonly Part[] =>
    addsStart ? [[tokenOf(file, tokens, 'bos_token'), type]] : [];
  const first: readonly Part[] = [...ofStart(0), ['A', 0]];
  return JSON.stringify({
    version: '1.0',
    added_tokens: addedTokensOf(tokens, ROLES),
    normalizer: null,
    pre_tokenizer: { ...byteLevel, add_prefix_space: addsSpace },
    post_processor:
      kind === 'gpt2'
        ? template(first, [...first, ...ofStart(1), ['B', 1]])
        : {
            type: 'RobertaProcessing',
            sep: pairOf('sep_token'),
            cls: pairOf('cls_token'),
            trim_offsets: true,
            add_prefix_space: addsSpace,
          },
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      type: 'BPE',
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      vocab: Object.fromEntries(tokens.vocabulary),
      merges: mergesOf(file, merges, tokens.vocabulary),
    },
  });
}

/** Lines of two pieces, after one that names the version. */
function mergesOf(file: string, text: string, ids: ReadonlyMap<string, number>): readonly string[][] {
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line !== '' && !line.startsWith('#version'));
  return lines.map((line) => {
    const pair = line.split(' ');
    if (pair.length === 2 && [...pair, pair.join('')].every((piece) => ids.has(piece))) return pair;
    throw new TopKError('FILE_CORRUPT', `${file}: merges.txt joins what the vocabulary does not have`, {
      expected: 'two pieces in each line, and their whole in the vocabulary',
      got: JSON.stringify(line.slice(0, 80)),
      fix: 'Use the files that belong to the model, or save its tokenizer as tokenizer.json in Python',
    });
  });
}
