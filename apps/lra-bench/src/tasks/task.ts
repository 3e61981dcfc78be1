/** The tasks of the Long Range Arena, in the order of its tables. */
export const taskNames = ['listops', 'text', 'retrieval', 'image', 'pathfinder', 'path-x'] as const;
export type TaskName = (typeof taskNames)[number];

/** What a task is, whatever model learns it. Plain data. */
export interface TaskFacts {
  readonly name: TaskName;
  readonly title: string;
  /** What an input is and what is asked about it. */
  readonly about: string;
  /** Tokens of an input that models see; longer ones are cut. */
  readonly tokens: number;
  /** The same, rounded up as the published small configuration does: rows of its table of positions. */
  readonly paddedTokens: number;
  readonly classes: number;
  /** Ids that occur, without the padding id 0. */
  readonly symbols: number;
  /** Documents of an example. */
  readonly parts: 1 | 2;
  /** Side of the image whose pixels are the tokens. */
  readonly side?: number;
  /** Accuracy in per cent of always answering the commonest class, on the published splits. */
  readonly majority: number;
  /** Where the data come from and what they look like on disk. */
  readonly data: string;
  readonly canGenerate: boolean;
}

const bytes = 256;

/** The facts of every task. */
export const tasks: { readonly [name in TaskName]: TaskFacts } = {
  listops: {
    name: 'listops',
    title: 'ListOps',
    about: 'the value of a nested expression of MIN, MAX, MED and sum modulo 10',
    tokens: 2000,
    paddedTokens: 2048,
    classes: 10,
    symbols: 16,
    parts: 1,
    // Answers 0 and 9 are the commonest: measured on 12,000 rows of the official generator's rules.
    majority: 17.1,
    data: '`pnpm lra generate listops`, or basic_{train,val,test}.tsv of the LRA archive (also .tsv.gz)',
    canGenerate: true,
  },
  text: {
    name: 'text',
    title: 'Text',
    about: 'whether a film review, read byte by byte, is positive',
    tokens: 4000,
    paddedTokens: 4096,
    classes: 2,
    symbols: bytes,
    parts: 1,
    majority: 50,
    data: 'aclImdb/{train,test}/{pos,neg}/*.txt (Maas et al., 2011), or {train,test}.jsonl with text and label (also .jsonl.gz)',
    canGenerate: false,
  },
  retrieval: {
    name: 'retrieval',
    title: 'Retrieval',
    about: 'whether one paper cites the other, both read byte by byte',
    tokens: 4000,
    paddedTokens: 4096,
    classes: 2,
    symbols: bytes,
    parts: 2,
    majority: 50,
    data: 'new_aan_pairs.{train,eval,test}.tsv of lra_release.gz: label, id, id, text, text apart by tabs, no header',
    canGenerate: false,
  },
  image: {
    name: 'image',
    title: 'Image',
    about: 'the class of a grey CIFAR-10 picture, read pixel by pixel',
    tokens: 1024,
    paddedTokens: 1024,
    classes: 10,
    symbols: bytes,
    parts: 1,
    side: 32,
    majority: 10,
    data: 'CIFAR-10 in its binary form (data_batch_{1..5}.bin, test_batch.bin), or {train,test}/<class>/*.png or .jpg',
    canGenerate: false,
  },
  pathfinder: {
    name: 'pathfinder',
    title: 'Pathfinder',
    about: 'whether a dashed path joins the two discs of a 32 x 32 picture, read pixel by pixel',
    tokens: 1024,
    paddedTokens: 1024,
    classes: 2,
    symbols: bytes,
    parts: 1,
    side: 32,
    majority: 50,
    data: '`pnpm lra generate pathfinder`, or the folder curv_contour_length_14 of the LRA archive (imgs, metadata)',
    canGenerate: true,
  },
  'path-x': {
    name: 'path-x',
    title: 'Path-X',
    about: 'Pathfinder in 128 x 128 pixels',
    tokens: 16_384,
    paddedTokens: 16_384,
    classes: 2,
    symbols: bytes,
    parts: 1,
    side: 128,
    majority: 50,
    data: '`pnpm lra generate path-x`, or the folder curv_contour_length_14 of pathfinder128 in the LRA archive',
    canGenerate: true,
  },
};
