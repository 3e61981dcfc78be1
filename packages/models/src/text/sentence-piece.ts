import { TopKError } from '@topk-attention/core';
import { fieldsOf, floatOf, textOf } from './protobuf.js';
import { addedToken, template } from './tokenizer-json.js';

/** Kinds of pieces, by their numbers in the format. */
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNIGRAM = 1;

const WORD_START = '▁';

interface Piece {
  readonly text: string;
  readonly score: number;
  readonly type: number;
}

/** What of a model of SentencePiece is used. */
interface Model {
  readonly pieces: readonly Piece[];
  readonly type: number;
  readonly unknownId: number;
  readonly byteFallback: boolean;
  readonly endPiece: string;
  readonly charsmap: Uint8Array;
  readonly addsPrefix: boolean;
  readonly removesSpaces: boolean;
  readonly marksSpaces: boolean;
}

/**
 * The contents of a spiece.model of T5 as those of the tokenizer.json that Python's transformers makes of it: the pieces and
 * their normalisation, then <extra_id_N> downwards, and the end of sequence after each text.
 *
 * @throws TopKError FILE_CORRUPT; UNSUPPORTED for other models than unigram
 */
export function tokenizerJsonOf(file: string, bytes: Uint8Array, extraIds: number): string {
  const model = readModel(file, bytes);
  checkModel(file, model);
  const { pieces, endPiece, byteFallback } = model;
  const extras = Array.from({ length: extraIds }, (_, at) => `<extra_id_${extraIds - 1 - at}>`);
  const scheme = model.addsPrefix ? 'always' : 'never';
  const metaspace = { type: 'Metaspace', replacement: WORD_START, prepend_scheme: scheme, split: true };
  const added = pieces.flatMap(({ text, type }, id) =>
    type === CONTROL || type === UNKNOWN || type === USER_DEFINED
      ? [addedToken({ id, content: text }, { special: type !== USER_DEFINED })]
      : [],
  );
  const end = { id: pieces.findIndex(({ text }) => text === endPiece), content: endPiece };
  return JSON.stringify({
    version: '1.0',
    added_tokens: [
      ...added,
      ...extras.map((content, at) =>
        addedToken({ id: pieces.length + at, content }, { special: true, strips: true }),
      ),
    ],
    normalizer: normalizerOf(model),
    pre_tokenizer: metaspace,
    post_processor: template(
      [
        ['A', 0],
        [end, 0],
      ],
      [
        ['A', 0],
        [end, 0],
        ['B', 0],
        [end, 0],
      ],
    ),
    decoder: byteFallback ? bytesDecoder : metaspace,
    model: {
      type: 'Unigram',
      unk_id: model.unknownId,
      byte_fallback: byteFallback,
      vocab: [...pieces.map(({ text, score }) => [text, score]), ...extras.map((text) => [text, 0])],
    },
  });
}

const bytesDecoder = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: WORD_START }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
};

function normalizerOf({ charsmap, removesSpaces }: Model): object {
  const normalizers: object[] = [];
  if (charsmap.length > 0) {
    normalizers.push({ type: 'Precompiled', precompiled_charsmap: encodeBase64(charsmap) });
  }
  if (removesSpaces) {
    normalizers.push(
      { type: 'Strip', strip_left: false, strip_right: true },
      { type: 'Replace', pattern: { Regex: ' {2,}' }, content: WORD_START },
    );
  }
  return { type: 'Sequence', normalizers };
}

function readModel(file: string, bytes: Uint8Array): Model {
  const pieces: Piece[] = [];
  const spec = {
    type: UNIGRAM,
    unknownId: 0,
    byteFallback: false,
    endPiece: '</s>',
    charsmap: new Uint8Array(0),
    addsPrefix: true,
    removesSpaces: true,
    marksSpaces: true,
  };
  for (const { number, bytes: message } of fieldsOf(file, bytes)) {
    if (number === 1) pieces.push(readPiece(file, message));
    // How it was trained.
    if (number === 2) {
      for (const field of fieldsOf(file, message)) {
        if (field.number === 3) spec.type = field.value;
        if (field.number === 35) spec.byteFallback = field.value !== 0;
        if (field.number === 40) spec.unknownId = field.value;
        if (field.number === 47) spec.endPiece = textOf(file, field);
      }
    }
    // How texts are normalised.
    if (number === 3) {
      for (const field of fieldsOf(file, message)) {
        if (field.number === 2) spec.charsmap = field.bytes.slice();
        if (field.number === 3) spec.addsPrefix = field.value !== 0;
        if (field.number === 4) spec.removesSpaces = field.value !== 0;
        if (field.number === 5) spec.marksSpaces = field.value !== 0;
      }
    }
  }
  return { pieces, ...spec };
}

function readPiece(file: string, message: Uint8Array): Piece {
  let text = '';
  let score = 0;
  let type = 1;
  for (const field of fieldsOf(file, message)) {
    if (field.number === 1) text = textOf(file, field);
    if (field.number === 2) score = floatOf(file, field);
    if (field.number === 3) type = field.value;
  }
  return { text, score, type };
}

function checkModel(file: string, { pieces, type, unknownId, endPiece, marksSpaces }: Model): void {
  const bad = (what: string, expected: string, got: string): TopKError =>
    new TopKError('FILE_CORRUPT', `${file}: ${what}`, { expected, got, fix: 'Download the file again' });
  if (pieces.length === 0) throw bad('not a model of SentencePiece', 'pieces', 'none');
  if (type !== UNIGRAM || !marksSpaces) {
    throw new TopKError('UNSUPPORTED', `${file}: this kind of model is not supported`, {
      expected: 'a unigram model that marks spaces, as T5 has',
      got: type === UNIGRAM ? 'one that does not mark spaces' : `model_type ${type}`,
      fix: 'Save the tokenizer as tokenizer.json in Python',
    });
  }
  const odd = pieces.findIndex(({ text, score }) => text === '' || !Number.isFinite(score));
  if (odd !== -1)
    throw bad(`piece ${odd} is broken`, 'a text and a finite score', JSON.stringify(pieces[odd]));
  if (pieces[unknownId] === undefined)
    throw bad('bad unk_id', `an id below ${pieces.length}`, `${unknownId}`);
  if (!pieces.some(({ text }) => text === endPiece))
    throw bad('no end of sequence', endPiece, 'no such piece');
}

function encodeBase64(bytes: Uint8Array): string {
  let binary = '';
  // In parts: arguments go onto the stack.
  for (let at = 0; at < bytes.length; at += 8192) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(binary);
}
