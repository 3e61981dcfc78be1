import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { encodeRows } from '../../src/data/packed.js';
import { type Rows, RowsBuilder } from '../../src/data/rows.js';
import { hashOf, splitNames } from '../../src/data/splits.js';
import { greyOf } from '../../src/images/grey.js';
import { encodePng } from '../../src/images/png.js';
import { expressionOf, publishedListOps } from '../../src/listops/generate.js';
import { listOpsLine } from '../../src/listops/read.js';
import { generateRows } from '../../src/sources/generate.js';
import { readTask } from '../../src/sources/read.js';
import type { TaskName } from '../../src/tasks/task.js';
import { lra, temporaryFolder } from '../support/command-line.js';

const folder = temporaryFolder();
let made = 0;

/** A new folder with files. */
function folderWith(files: { readonly [path: string]: string | Uint8Array }): string {
  const root = join(folder, String(made++));
  mkdirSync(root);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

const failure = async (task: TaskName, root: string): Promise<{ code: string; message: string }> => {
  try {
    await readTask(task, root);
  } catch (error) {
    return error as { code: string; message: string };
  }
  throw new Error('nothing failed');
};

describe('ListOps', () => {
  const line = (row: number): string => {
    const { ids, value } = expressionOf(publishedListOps, 1, 0, row);
    return listOpsLine(ids, value);
  };
  const header = 'Source\tTarget\n';
  const good = header + line(0) + line(1);

  test('generated files are read back, compressed or not, and packed rows are the same rows', async () => {
    const args = ['--train', '3', '--validation', '2', '--test', '2', '--json'];
    const [tsv, packed] = [join(folder, 'tsv'), join(folder, 'packed')];
    const one = JSON.parse(
      (await lra(['generate', 'listops', '--out', tsv, '--format', 'tsv', ...args])).stdout,
    );
    const two = JSON.parse((await lra(['generate', 'listops', '--out', packed, '--gzip', ...args])).stdout);
    expect(one.hash).toBe(two.hash);
    for (const from of [tsv, packed]) expect(hashOf(await readTask('listops', from))).toBe(one.hash);
    const zipped = folderWith({
      'basic_train.tsv.gz': gzipSync(readFileSync(join(tsv, 'basic_train.tsv'))),
      'basic_val.tsv': readFileSync(join(tsv, 'basic_val.tsv')),
    });
    const { train, test: rows, notes } = await readTask('listops', zipped);
    expect([train.length, rows.length]).toEqual([3, 2]);
    expect(notes.join()).toContain('no file of test rows');
  });

  test.each<[string, string | Uint8Array, string, RegExp]>([
    ['no header', line(0), 'FILE_CORRUPT', /:1 cannot be used.*Source/],
    [
      'a wrong answer',
      `${header}( ( ( [MAX 4 ) 5 ) ] )\t4\n`,
      'FILE_CORRUPT',
      /:2 .*the answer 5, got the answer 4/,
    ],
    ['an unknown word', `${header}( ( ( [MAX 4 ) x ) ] )\t4\n`, 'FILE_CORRUPT', /the word 'x'/],
    ['an open bracket', `${header}[MAX 4 5\t5\n`, 'FILE_CORRUPT', /brackets left open/],
    ['an empty row', `${good}\n`, 'FILE_CORRUPT', /:4 .*an empty line/],
    ['no answer', `${good}[MAX 4 5 ]\n`, 'FILE_CORRUPT', /:4 .*a tab and a digit/],
    ['no rows', header, 'FILE_CORRUPT', /at least one row/],
  ])('%s', async (_name, train, code, message) => {
    const error = await failure('listops', folderWith({ 'basic_train.tsv': train, 'basic_val.tsv': good }));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });

  test('half a gzip file', async () => {
    const bytes = gzipSync(good.repeat(3));
    const files = { 'basic_train.tsv.gz': bytes.subarray(0, bytes.length >> 1), 'basic_val.tsv': good };
    expect((await failure('listops', folderWith(files))).code).toMatch(/FILE_TRUNCATED|FILE_CORRUPT/);
  });
});

describe('packed rows', () => {
  const packed = async (split: 'train' | 'validation' | 'test'): Promise<Buffer> =>
    Buffer.from(
      encodeRows(await generateRows('listops', split, { seed: 1, count: 2 }), {
        task: 'listops',
        split,
        about: {},
      }),
    );
  const filesWith = async (train: Uint8Array): Promise<string> =>
    folderWith({
      'listops-train.rows': train,
      'listops-validation.rows': await packed('validation'),
      'listops-test.rows': await packed('test'),
    });

  test('cut off, changed, of another version, of another task, or one missing', async () => {
    const whole = await packed('train');
    const cut = await failure('listops', await filesWith(whole.subarray(0, whole.length - 9)));
    expect(cut.code).toBe('FILE_TRUNCATED');
    const changed = Buffer.from(whole);
    changed[changed.length - 1] = 9;
    expect((await failure('listops', await filesWith(changed))).message).toContain(
      'the bytes that its header',
    );
    const later = Buffer.from(whole.toString('latin1').replace('"version":1', '"version":2'), 'latin1');
    expect((await failure('listops', await filesWith(later))).message).toContain('version 2');
    const other = await filesWith(whole);
    writeFileSync(join(other, 'listops-test.rows'), whole);
    expect((await failure('listops', other)).message).toContain('test rows of listops, got train rows');
    const single = folderWith({ 'listops-train.rows': whole });
    expect((await failure('listops', single)).code).toBe('FILE_NOT_FOUND');
  });
});

describe('packed rows that no generator made', () => {
  const folderOf = (task: TaskName, rows: Rows): string =>
    folderWith(
      Object.fromEntries(
        splitNames.map((split) => [
          `${task}-${split}.rows`,
          encodeRows(rows, { task, split, about: { validation: 'test' } }),
        ]),
      ),
    );
  const rowsWith = (label: number, ...documents: readonly Uint8Array[]): Rows => {
    const builder = new RowsBuilder(documents.length as 1 | 2);
    if (documents.length === 1) builder.add(0, new Uint8Array(1024).fill(7));
    builder.add(label, ...documents);
    return builder.build();
  };
  const bytes = (length: number, value = 3): Uint8Array => new Uint8Array(length).fill(value);

  test.each<[string, TaskName, Rows, RegExp]>([
    ['an id outside the vocabulary', 'listops', rowsWith(1, bytes(4, 17)), /row 2.*ids from 1 to 16, got 17/],
    ['the padding id', 'listops', rowsWith(1, bytes(4, 0)), /train row 2.*ids from 1 to 16, got 0/],
    ['an empty row', 'text', rowsWith(1, bytes(0)), /row 2.*at least one symbol, got 0/],
    ['an empty second document', 'retrieval', rowsWith(1, bytes(2), bytes(0)), /row 1.*at least one symbol/],
    ['a cut picture', 'image', rowsWith(1, bytes(1000)), /row 2.*32 x 32 pixels, got 1000/],
    ['a label of no class', 'text', rowsWith(2, bytes(9)), /row 2.*a label from 0 to 1, got 2/],
    ['one document of two', 'retrieval', rowsWith(1, bytes(9)), /as many documents.*2, got 1/],
    ['two documents', 'pathfinder', rowsWith(1, bytes(1024), bytes(1024)), /1, got 2/],
  ])('%s', async (_name, task, rows, message) => {
    expect(await failure(task, folderOf(task, rows))).toMatchObject({
      code: 'FILE_CORRUPT',
      message: expect.stringMatching(message),
    });
  });
});

describe('Text', () => {
  const lines = (...rows: readonly unknown[]): string =>
    rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  const some = lines({ text: 'Good é', label: 1 }, { text: 'Bad', label: 0 });

  test('lines of JSON and folders of files hold the same bytes', async () => {
    const one = await readTask('text', folderWith({ 'train.jsonl': some, 'test.jsonl.gz': gzipSync(some) }));
    expect([...one.train.document(0)]).toEqual([...Buffer.from('Good é')]);
    expect(hashOf(one)).not.toBe('');
    const files = {
      'aclImdb/train/pos/0_9.txt': 'Good é',
      'aclImdb/train/neg/0_1.txt': 'Bad',
      'aclImdb/test/pos/0_9.txt': 'Good é',
      'aclImdb/test/neg/0_1.txt': 'Bad',
    };
    const two = await readTask('text', folderWith(files));
    expect([...two.train.labels]).toEqual([0, 1]);
    expect([...two.train.document(1)]).toEqual([...one.train.document(0)]);
    expect(two.notes.join()).toContain('validation rows are the test rows');
  });

  test('a tenth held out', async () => {
    const rows = lines(...Array.from({ length: 20 }, (_, at) => ({ text: `t${at}`, label: at % 2 })));
    const root = folderWith({ 'train.jsonl': rows, 'test.jsonl': some });
    const { train, validation } = await readTask('text', root, { validation: 'held-out' });
    expect([train.length, validation.length]).toEqual([18, 2]);
  });

  test('packed, they keep what they say about themselves, and their validation rows', async () => {
    const rows = lines(...Array.from({ length: 20 }, (_, at) => ({ text: `t${at}`, label: at % 2 })));
    const from = folderWith({ 'train.jsonl': rows, 'test.jsonl': some });
    const out = join(folder, 'packed-text');
    const { code } = await lra(['generate', 'text', '--from', from, '--out', out, '--held-out']);
    expect(code).toBe(0);
    const packed = await readTask('text', out, { validation: 'held-out' });
    expect(packed.notes).toEqual(['a tenth of the training rows is held out for validation']);
    expect(hashOf(packed)).toBe(hashOf(await readTask('text', from, { validation: 'held-out' })));
    expect(await failure('text', out)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('held-out'),
    });
  });

  test('long reviews keep their first 4,000 bytes', async () => {
    const long = lines({ text: 'x'.repeat(5000), label: 1 });
    const { train } = await readTask('text', folderWith({ 'train.jsonl': long, 'test.jsonl': some }));
    expect(train.document(0)).toHaveLength(4000);
  });

  test.each<[string, string, RegExp]>([
    ['an empty text', lines({ text: '', label: 1 }), /:1 .*a review, got an empty one/],
    ['a label of 2', lines({ text: 'x', label: 2 }), /label 0 or 1.*label: 2/],
    ['no JSON', `${some}{"text"\n`, /:3 .*an object of JSON/],
  ])('%s', async (_name, train, message) => {
    const error = await failure('text', folderWith({ 'train.jsonl': train, 'test.jsonl': some }));
    expect(error).toMatchObject({ code: 'FILE_CORRUPT', message: expect.stringMatching(message) });
  });

  test('nothing there', async () => {
    expect(await failure('text', folderWith({}))).toMatchObject({
      code: 'FILE_NOT_FOUND',
      message: expect.stringContaining('aclImdb'),
    });
  });
});

describe('Retrieval', () => {
  const rows = '1.0\ta\tb\tone text\tother text\n0.0\ta\tc\tone text\tthird\n';
  const files = (train: string): { [path: string]: string } => ({
    'new_aan_pairs.train.tsv': train,
    'new_aan_pairs.eval.tsv': rows,
    'new_aan_pairs.test.tsv': rows,
  });

  test('pairs', async () => {
    const { train } = await readTask('retrieval', folderWith(files(rows)));
    expect([...train.labels]).toEqual([1, 0]);
    expect(Buffer.from(train.document(1, 1)).toString()).toBe('third');
    expect(Buffer.from(train.document(1, 0)).toString()).toBe('one text');
  });

  test('absent: where the files come from and what they look like', async () => {
    const { code, message } = await failure('retrieval', folderWith({}));
    expect(code).toBe('FILE_NOT_FOUND');
    expect(message).toContain('lra_release.gz');
    expect(message).toContain('label, id, id, text, text');
  });

  test.each<[string, string]>([
    ['four columns', '1.0\ta\tb\ttext\n'],
    ['an empty text', '1.0\ta\tb\t\ttext\n'],
    ['a label of 3', '3\ta\tb\ttext\ttext\n'],
  ])('%s', async (_name, train) => {
    expect((await failure('retrieval', folderWith(files(train)))).code).toBe('FILE_CORRUPT');
  });
});

describe('Image', () => {
  const record = (label: number, red: number, green: number, blue: number): Buffer =>
    Buffer.concat([Buffer.of(label), ...[red, green, blue].map((level) => Buffer.alloc(1024, level))]);
  const cifar = (batch: Uint8Array): { [path: string]: Uint8Array } => ({
    ...Object.fromEntries([2, 3, 4, 5].map((at) => [`data_batch_${at}.bin`, record(at, 1, 2, 3)])),
    'data_batch_1.bin': batch,
    'test_batch.bin': record(7, 255, 255, 255),
  });

  test('the grey of a pixel', () => {
    expect([...greyOf(Uint8Array.of(255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255))]).toEqual([
      76, 149, 29, 254,
    ]);
  });

  test('binary files: nine tenths to train on, one to validate on', async () => {
    const batch = Buffer.concat(Array.from({ length: 6 }, () => record(3, 100, 150, 200)));
    const { train, validation, test: rows } = await readTask('image', folderWith(cifar(batch)));
    expect([train.length, validation.length, rows.length]).toEqual([9, 1, 1]);
    expect([...train.labels.slice(0, 7)]).toEqual([3, 3, 3, 3, 3, 3, 2]);
    expect(train.document(0)[1023]).toBe(Math.floor(0.2989 * 100 + 0.587 * 150 + 0.114 * 200));
    expect(rows.label(0)).toBe(7);
  });

  test('a cut file and a wrong label', async () => {
    const cut = await failure('image', folderWith(cifar(record(3, 1, 1, 1).subarray(0, 3000))));
    expect(cut.code).toBe('FILE_TRUNCATED');
    const wrong = await failure('image', folderWith(cifar(record(10, 1, 1, 1))));
    expect(wrong).toMatchObject({ code: 'FILE_CORRUPT', message: expect.stringContaining('got 10') });
  });

  const picture = (width: number, height: number, format: 'png' | 'jpeg' = 'png'): Promise<Buffer> =>
    sharp({ create: { width, height, channels: 3, background: { r: 100, g: 150, b: 200 } } })
      .toFormat(format)
      .toBuffer();
  const pictures = async (first: Uint8Array, count = 10): Promise<{ [path: string]: Uint8Array }> => {
    const files: { [path: string]: Uint8Array } = {};
    for (let at = 0; at < count; at++) {
      files[`train/c${at}/0.png`] = at === 0 ? first : await picture(32, 32);
      files[`train/c${at}/1.jpg`] = await picture(32, 32, 'jpeg');
      files[`test/c${at}/0.jpg`] = await picture(32, 32, 'jpeg');
    }
    return files;
  };

  test('folders of PNG and JPEG files: one picture of each class in turn', async () => {
    const { train, validation, notes } = await readTask(
      'image',
      folderWith(await pictures(await picture(32, 32))),
    );
    expect([...train.labels]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...validation.labels]).toEqual([8, 9]);
    expect(train.document(0)[0]).toBe(Math.floor(0.2989 * 100 + 0.587 * 150 + 0.114 * 200));
    expect(notes.join()).toContain('JPEG');
  });

  test.each<[string, () => Promise<Uint8Array>, RegExp]>([
    ['not square', () => picture(32, 30), /32 x 32 pixels, got 32 x 30, not square/],
    ['too large', () => picture(64, 64), /got 64 x 64/],
    ['no picture', async () => Buffer.from('text'), /a PNG or JPEG image/],
  ])('a picture that is %s', async (_name, make, message) => {
    const error = await failure('image', folderWith(await pictures(await make())));
    expect(error).toMatchObject({ code: 'FILE_CORRUPT', message: expect.stringMatching(message) });
  });

  test('a grey file keeps its levels', async () => {
    const data = Uint8Array.from({ length: 1024 }, (_, at) => at % 256);
    const png = encodePng({ width: 32, height: 32, channels: 1, data });
    const wide = await sharp(png).toColourspace('grey16').png().toBuffer();
    const alpha = await sharp(png).toColourspace('b-w').ensureAlpha().png().toBuffer();
    for (const file of [png, wide, alpha]) {
      const { train } = await readTask('image', folderWith(await pictures(file)));
      expect([...train.document(0)]).toEqual([...data]);
    }
  });

  test('nine classes', async () => {
    const error = await failure('image', folderWith(await pictures(await picture(32, 32), 9)));
    expect(error.message).toContain('10 folders, one per class, got 9');
  });
});

test('Pathfinder in the published form: an empty picture is left out', async () => {
  const png = await sharp({ create: { width: 32, height: 32, channels: 3, background: '#fff' } })
    .png()
    .toBuffer();
  const files: { [path: string]: string | Uint8Array } = {
    'metadata/0.npy': Array.from(
      { length: 11 },
      (_, at) => `imgs/0 sample_${at}.png ${at} ${at % 2} 1.8 14 4\n`,
    ).join(''),
  };
  for (let at = 0; at < 11; at++) files[`imgs/0/sample_${at}.png`] = at === 5 ? '' : png;
  const { train, validation, test: rows } = await readTask('pathfinder', folderWith(files));
  expect([...train.labels, ...validation.labels, ...rows.labels]).toEqual([0, 1, 0, 1, 0, 0, 1, 0, 1, 0]);
  expect([train.length, validation.length, rows.length]).toEqual([8, 1, 1]);
  expect(train.document(0)[0]).toBe(254);
});

test('a folder that is not there', async () => {
  expect((await failure('image', join(folder, 'nowhere'))).code).toBe('FILE_NOT_FOUND');
});

test('a folder that cannot be made is found before the rows are', async () => {
  const file = join(folderWith({ file: '' }), 'file');
  // All of the published rows: some forty minutes of a core.
  const { code, stdout } = await lra(['generate', 'pathfinder', '--out', join(file, 'rows'), '--json']);
  expect(code).toBe(1);
  expect(JSON.parse(stdout).error).toMatchObject({ code: 'FILE_NOT_WRITTEN', fix: expect.anything() });
});
