import { addedTokensOf, type OlderTokens, withoutToken } from './older-tokens.js';

/** What tokenizer_config.json says of a tokenizer of BERT's kind. */
export interface WordPieceSettings {
  readonly lowercase: boolean;
  /** Undefined: as `lowercase`. */
  readonly stripAccents?: boolean;
  /** Whether each Chinese character is a word. */
  readonly splitChinese: boolean;
}

const ROLES = ['unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'] as const;

/**
 * The contents of a vocab.txt of BERT, a piece in each line, as those of the tokenizer.json that Python's transformers makes
 * of it.
 *
 * @throws TopKError FILE_CORRUPT for a vocabulary without the pieces for unknown words and around a text.
 */
export function tokenizerJsonOfWords(
  file: string,
  text: string,
  settings: WordPieceSettings,
  tokens: OlderTokens,
): string {
  const { lowercase, stripAccents = null, splitChinese } = settings;
  const lines = text.split(/\r\n|\n|\r/);
  if (lines.at(-1) === '') lines.pop();
  // Of equal lines the last one counts.
  const ids = new Map(lines.map((piece, id) => [piece, id]));
  const [unknown, start, end] = ['unk_token', 'cls_token', 'sep_token'].map((role) => {
    const content = tokens.special(role);
    const id = content === undefined ? undefined : ids.get(content);
    if (content === undefined || id === undefined) throw withoutToken(file, role, content);
    return { content, id };
  }) as [Known, Known, Known];
  const token = ({ content }: Known, type: number): object => ({
    SpecialToken: { id: content, type_id: type },
  });
  const sequence = (id: string, type: number): object => ({ Sequence: { id, type_id: type } });
  const single = [token(start, 0), sequence('A', 0), token(end, 0)];
  return JSON.stringify({
    version: '1.0',
    added_tokens: addedTokensOf(ids, tokens, ROLES),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: splitChinese,
      strip_accents: stripAccents,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single,
      pair: [...single, sequence('B', 1), token(end, 1)],
      special_tokens: Object.fromEntries(
        [start, end].map(({ content, id }) => [content, { id: content, ids: [id], tokens: [content] }]),
      ),
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: unknown.content,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(ids),
    },
  });
}

interface Known {
  readonly content: string;
  readonly id: number;
}
