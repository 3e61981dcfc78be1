import { storiesModel } from '@topk-attention/t5-goldens';
import { describe, expect, test } from 'vitest';
import type { InspectResult } from '../src/engine/inspect-protocol.js';
import { inspectionText } from '../src/output/inspection-text.js';
import { type JsonError, jsonOf, runCli } from './cli-support.js';
import { runProgram } from './run-program.js';

type Shown = InspectResult['inspected'] & { readonly engine: { readonly backend: string } };

const prompt = 'where is mary? \\n mary moved to the bathroom. john went to the hallway.';
const command = ['inspect', '--backend', 'reference', '--prompt', prompt, '--feed-forward-k', '64'];
const seen = async (...args: readonly string[]): Promise<Shown> =>
  jsonOf<Shown>(await runProgram([...command, ...args, '--json']));

describe('inspect', () => {
  test('ends with the answer, and names the units of each layer', async () => {
    const { plain, changed, engine } = await seen('--top', '3');
    expect(engine.backend).toBe('reference');
    expect(changed).toBeUndefined();
    expect(plain.layers.map(({ layer }) => layer)).toEqual([0, 1]);
    expect(plain.layers[1]?.after[0]?.text).toBe('bathroom');
    for (const { before, subUpdates, active } of plain.layers) {
      expect([before.length, subUpdates.length]).toEqual([3, 3]);
      expect(active).toBeLessThanOrEqual(64);
    }
  });

  test('shows a change side by side', async () => {
    const args = ['--layer', '1', '--off', 'L1D588', 'l1d118', '--on', 'L0D2=4'];
    const { plain, changed } = await seen(...args);
    const units = (one: typeof changed): (number | undefined)[] =>
      one?.layers[0]?.subUpdates.map(({ unit }) => unit) ?? [];
    expect(units(plain)).toContain(588);
    expect(units(changed)).not.toContain(588);
    const { code, stdout } = await runProgram([...command, ...args]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Position 0 of 1 in the decoder/);
    expect(stdout).toMatch(/^layer +plain +with L1D588=0, L1D118=0, L0D2=4$/m);
    expect(stdout).toMatch(/^1 +before +bathroom 0\.\d{3}.* bathroom 0\.\d{3}/m);
    expect(stdout).toMatch(/^ +adds +L1D588 .* of 64 /m);
  });

  test.each([
    [['--on', 'L0D2=5', '--off', 'L0D2'], 'L0D2=0', '0'],
    [['--off', 'L0D2', '--on', 'L0D2=5'], 'L0D2=5', '5'],
    [['--on', 'L0D2=5', 'l0d2=7', '--off', 'L1D3', '--on', 'L0D2=-1'], 'L1D3=0, L0D2=-1', '-1'],
  ])('the last of a unit wins and is shown once: %j', async (args, title, coefficient) => {
    const { stdout } = await runProgram([...command, ...args, '--layer', '0,0']);
    expect(stdout).toMatch(new RegExp(`with ${title}$`, 'm'));
    expect(stdout.match(/^0 +before/gm)).toHaveLength(1);
    const one = await seen('--on', `L0D2=${coefficient}`, ...(title.includes('L1') ? ['--off', 'L1D3'] : []));
    expect((await seen(...args)).changed).toEqual(one.changed);
  });

  test('a search without a hit says so', async () => {
    const { plain } = await seen();
    expect(inspectionText({ plain, hits: [] }, [])).toMatch(/^None found: /m);
  });

  test('positions are those of the stack, also for changes', async () => {
    const encoder = ['--stack', 'encoder', '--layer', '0,7'];
    const { plain, changed } = await seen(...encoder, '--position', '0', '--on', 'L0D2=9', '--at', '-1');
    expect(plain.stack).toBe('encoder');
    expect(plain.tokens[0]).toBe('where');
    expect(changed?.layers[0]).toEqual(plain.layers[0]);
    expect(changed?.layers[1]).not.toEqual(plain.layers[1]);
    const { plain: next } = await seen('--target', 'bathroom');
    expect(next.tokens).toEqual(['#0', 'bathroom']);
    // The end of the answer.
    expect(next.layers[1]?.after[0]?.id).toBe(1);
  });

  test('finds value vectors by words, and shows the tokens of one', async () => {
    const args = ['--search', 'kitchen,garden', '--value', 'L1D17', '--top', '4'];
    const { hits, values } = await seen(...args);
    expect(hits?.map(({ matched }) => [...matched].sort())).toEqual(Array(4).fill(['garden', 'kitchen']));
    expect(values?.[0]?.tokens).toHaveLength(4);
    const { stdout } = await runProgram([...command, ...args]);
    expect(stdout).toMatch(/^L1D17 +[\d.]+ +\S+ /m);
    expect(stdout).toMatch(/^L\d+D\d+ +\S+, \S+ +.*kitchen/m);
  });

  test('groups value vectors, and shows the group of one', async () => {
    const small = [
      'inspect',
      '--backend',
      'reference',
      '--model',
      storiesModel,
      '--prompt',
      'Once',
      '--top',
      '2',
    ];
    const args = [...small, '--clusters', '6', '--seed', '2'];
    const all = jsonOf<Shown>(await runProgram([...args, '--json'])).clusters ?? [];
    expect(all).toHaveLength(6);
    expect(all.flatMap(({ members }) => members)).toHaveLength(5 * 172);
    const own = jsonOf<Shown>(await runProgram([...args, '--value', 'L1D3', '--json'])).clusters ?? [];
    expect(own).toEqual(
      all.filter(({ members }) => members.some(({ layer, unit }) => layer === 1 && unit === 3)),
    );
    const { stdout } = await runProgram([...args, '--value', 'L1D3']);
    expect(stdout).toMatch(/^cluster +size +nearest to its center +tokens$/m);
  });

  test('a decoder-only model, in a process of its own', async () => {
    const args = ['inspect', '--backend', 'reference', '--model', storiesModel, '--json', '--off', 'L2D5'];
    const outcome = await runCli([...args, '--prompt', 'Once upon a time, there was a little']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    const { plain, changed } = jsonOf<Shown>(outcome);
    expect(plain.layers).toHaveLength(5);
    // Of "girl", in a vocabulary of 512.
    expect(plain.layers[4]?.after[0]?.text).toBe('g');
    expect(changed?.layers.slice(0, 2)).toEqual(plain.layers.slice(0, 2));
  });

  test.each([
    [['--off', 'L3'], /such as L3D17/],
    [['--on', 'L0D2'], /such as L5D2=4/],
    [['--on', 'L0D2='], /such as L5D2=4/],
    [['--on', 'LxD2=1'], /such as L3D17/],
    [['--layer', '1,x'], /whole number/],
    [['--at', '0'], /--at needs --off or --on/],
    [['--seed', '1'], /--seed needs --clusters/],
    [['--stack', 'middle'], /encoder, decoder/],
  ])('%j is wrong use', async (args, message) => {
    const outcome = await runProgram([...command, ...args]);
    expect(outcome.code).toBe(2);
    expect(outcome.stderr).toMatch(message);
  });

  test('an empty prompt is wrong use', async () => {
    expect((await runProgram(['inspect', '--prompt', ' '])).code).toBe(2);
    expect((await runProgram(['inspect'])).code).toBe(2);
  });

  test.each([
    [['--off', 'L2D5'], 'INVALID_OPTION', /no such layer: expected a whole number from 0 to 1/],
    [['--on', 'L1D768=1'], 'INVALID_OPTION', /no such unit: expected a whole number from 0 to 767/],
    [['--layer', '2'], 'INVALID_OPTION', /no such layer/],
    [['--position', '1'], 'INVALID_OPTION', /no such position/],
    [['--search', 'photosynthesis'], 'INVALID_OPTION', /no such token/],
    [['--model', 'nowhere'], 'FILE_NOT_FOUND', /there is no model/],
  ])('%j fails', async (args, code, message) => {
    const outcome = await runProgram([...command, ...args, '--json']);
    expect(outcome.code).toBe(1);
    const { error } = JSON.parse(outcome.stdout) as JsonError;
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});
