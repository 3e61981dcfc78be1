import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import {
  adafactor,
  adam,
  adamW,
  dataLoader,
  folderStore,
  loadCheckpoint,
  noDecay,
  type Optimizer,
  type ParameterTree,
  saveCheckpoint,
  sgd,
  train,
} from '../../src/index.js';
import { fileOf, temporaryFolder } from '../support/files.js';
import {
  type CommandResult,
  pythonAvailability,
  runJobs,
  runMover,
  torchAvailability,
} from '../support/python.js';
import { valuesOf } from '../support/tensors.js';
// @ts-expect-error plain JavaScript, as a child process runs it too
import { points, toyRun } from '../support/toy-run.mjs';

type Batch = { readonly x: readonly number[]; readonly targets: readonly number[] };

const { backend, parameters, collate, plainLoss } = toyRun();
const files = ['model.safetensors', 'optimizer.safetensors', 'trainer_state.json'];
const fixtures = fileURLToPath(new URL('../goldens/from-torch', import.meta.url));

/** The same batch in every step, wherever it is made. */
const run = (optimizer: Optimizer, maxSteps: number, checkpoints?: string) =>
  train<Batch>({
    parameters,
    loss: plainLoss,
    data: dataLoader<unknown, Batch>(points, { batchSize: 96, collate }),
    optimizer,
    maxSteps,
    ...(checkpoints !== undefined && { checkpoints: folderStore(checkpoints), resume: true }),
  });

async function expectClose(got: ParameterTree, wanted: ParameterTree): Promise<void> {
  const [a, b] = [await valuesOf(got), await valuesOf(wanted)];
  expect(Object.keys(a).sort()).toEqual(Object.keys(b).sort());
  for (const [name, values] of Object.entries(b)) {
    for (const [i, value] of values.entries()) {
      expect(Math.abs((a[name]?.[i] as number) - value), `${name}[${i}]`).toBeLessThan(2e-6);
    }
  }
}

/** Settings as nn, the command line and torch name them; without torch's, a run does not begin there. */
const optimizers: readonly {
  readonly name: string;
  readonly optimizer: 'adamw' | 'adam' | 'sgd';
  readonly ours: Optimizer;
  readonly options: readonly string[];
  readonly torch?: object;
}[] = [
  {
    name: 'groups',
    optimizer: 'adamw',
    ours: adamW({ learningRate: 0.02, weightDecay: 1, groups: [noDecay()] }),
    options: ['--lr', '0.02', '--weight-decay', '1', '--no-decay'],
  },
  {
    name: 'adamw',
    optimizer: 'adamw',
    ours: adamW({ learningRate: 0.02, weightDecay: 0.1, amsgrad: true }),
    options: ['--lr', '0.02', '--weight-decay', '0.1'],
    torch: { lr: 0.02, weight_decay: 0.1, amsgrad: true },
  },
  {
    name: 'adam',
    optimizer: 'adam',
    ours: adam({ learningRate: 0.02, betas: [0.8, 0.99] }),
    options: ['--lr', '0.02', '--betas', '0.8', '0.99'],
    torch: { lr: 0.02, betas: [0.8, 0.99] },
  },
  {
    name: 'sgd',
    optimizer: 'sgd',
    ours: sgd({ learningRate: 0.05, momentum: 0.9, nesterov: true }),
    options: ['--lr', '0.05', '--momentum', '0.9', '--nesterov'],
    torch: { lr: 0.05, momentum: 0.9, nesterov: true },
  },
  {
    name: 'sgd-without-state',
    optimizer: 'sgd',
    ours: sgd({ learningRate: 0.05 }),
    options: ['--lr', '0.05'],
    torch: { lr: 0.05 },
  },
];
const layers = ['--transpose', '\\.weight$'];

optional(
  'ten steps in nn and ten in PyTorch are twenty in nn, in either order',
  torchAvailability(),
  async () => {
    const folder = await temporaryFolder();
    const path = (...parts: readonly string[]): string => join(folder, ...parts);
    const initial = await valuesOf(parameters);
    const batch = collate(points) as Batch;
    const jobs: { readonly [kind: string]: unknown }[] = [];
    for (const { name, optimizer, ours, options, torch } of optimizers) {
      await run(ours, 10, path(name));
      const steps = { optimizer, ...batch, steps: 10 };
      const from = (file: string, to: string, step: string) => ({
        command: ['from-torch', path(`${name}${file}.pt`), path(`${name}${to}`), '--step', step, ...layers],
      });
      const moved = [path(name, 'checkpoint-10'), path(`${name}.pt`)];
      jobs.push(
        { command: ['to-torch', ...moved, '--optimizer', optimizer, ...options, ...layers] },
        from('', '-same', '10'),
        { steps: { ...steps, load: path(`${name}.pt`), save: path(`${name}-later.pt`) } },
        from('-later', '-later', '20'),
      );
      if (torch === undefined) continue;
      jobs.push(
        { steps: { ...steps, initial, settings: torch, save: path(`${name}-first.pt`) } },
        from('-first', '-first', '10'),
      );
    }
    for (const result of runJobs(jobs)) {
      if (result !== 'saved') expect(result).toEqual({ code: 0, stderr: '' });
    }
    for (const { name, ours, torch } of optimizers) {
      // There and back is nothing changed.
      for (const file of files.slice(0, 2)) {
        const [a, b] = [name, `${name}-same`].map((one) => readFileSync(path(one, 'checkpoint-10', file)));
        expect(a?.equals(b as Buffer), `${name}: ${file}`).toBe(true);
      }
      const whole = await run(ours, 20);
      const later = await loadCheckpoint(folderStore(path(`${name}-later`)), 20, backend);
      await expectClose(later.parameters, whole.parameters);
      await expectClose(later.optimizer.tensors, whole.state.tensors);
      expect(later.optimizer.steps).toEqual(whole.state.steps);
      if (torch === undefined) continue;
      const resumed = await run(ours, 20, path(`${name}-first`));
      await expectClose(resumed.parameters, whole.parameters);
      await expectClose(resumed.state.tensors, whole.state.tensors);
      expect(resumed.state.steps).toEqual(whole.state.steps);
    }
  },
);

optional('the script writes the checkpoint of the tests without Python', torchAvailability(), async () => {
  const folder = await temporaryFolder();
  const file = join(folder, 'fixture.pt');
  const results = runJobs([
    { fixture: file },
    { command: ['from-torch', file, folder, '--seed', '7', '--batch', '2'] },
  ]);
  expect(results).toEqual(['saved', { code: 0, stderr: '' }]);
  for (const name of files) {
    const [a, b] = [folder, fixtures].map((one) => readFileSync(join(one, 'checkpoint-3', name), 'latin1'));
    expect(a, name).toBe(b);
  }
});

test('a checkpoint of the script is read, and has the bytes of one that nn writes', async () => {
  const read = await loadCheckpoint(folderStore(fixtures), 3, backend);
  expect(read.trainer).toMatchObject({ global_step: 3, seed: 7, loader: { epoch: 0, batch: 2 } });
  expect(read.optimizer.steps).toEqual({ 'proj.weight': 3, 'proj.bias': 0 });
  expect(await valuesOf(read.parameters)).toEqual({
    'proj.bias': [1, -2, 0.5],
    'proj.weight': [0, 0.25, 0.5, 0.75, 1, 1.25],
  });
  expect(await valuesOf(read.optimizer.tensors)).toEqual({
    'proj.bias.exp_avg': [0, 0, 0],
    'proj.bias.exp_avg_sq': [0, 0, 0],
    'proj.weight.exp_avg': [0, 0.125, 0.25, 0.375, 0.5, 0.625],
    'proj.weight.exp_avg_sq': [0, 0.03125, 0.0625, 0.09375, 0.125, 0.15625],
  });
  const folder = await temporaryFolder();
  await saveCheckpoint(folderStore(folder), read);
  for (const name of files) {
    const [a, b] = [folder, fixtures].map((one) => readFileSync(join(one, 'checkpoint-3', name), 'latin1'));
    expect(a, name).toBe(b);
  }
});

describe('the command line', () => {
  optional(
    'explains itself without torch, and tells wrong usage from a failure',
    pythonAvailability(),
    () => {
      const help = runMover('--help');
      expect(help).toMatchObject({ code: 0, stderr: '' });
      for (const word of ['to-torch', 'from-torch', 'Exit codes']) expect(help.stdout).toContain(word);
      expect(runMover()).toMatchObject({ code: 2, stderr: expect.stringContaining('usage') });
      expect(runMover('to-torch', 'a', 'b', '--optimizer', 'lion').code).toBe(2);
      expect(runMover('to-torch', 'a', 'b', '--optimizer', 'sgd', '--transpose', '(').code).toBe(2);
      expect(runMover('from-torch', 'a', 'b', '--step', '-1').code).toBe(2);
      const missing = runMover('to-torch', 'nowhere', 'b.pt', '--optimizer', 'sgd');
      expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('nowhere') });
      expect(missing.stderr).not.toContain('Traceback');
    },
  );

  optional('says what cannot be moved and why, and writes nothing', torchAvailability(), async () => {
    const folder = await temporaryFolder();
    const path = (...parts: readonly string[]): string => join(folder, ...parts);
    await run(adamW(), 1, path('adamw'));
    await run(sgd({ momentum: 0.9 }), 1, path('sgd'));
    await run(adafactor(), 1, path('adafactor'));
    await run(adamW(), 1, path('short'));
    truncateSync(path('short', 'checkpoint-1', 'model.safetensors'), 300);
    await run(adamW(), 1, path('state'));
    writeFileSync(path('state', 'checkpoint-1', 'trainer_state.json'), '{"global_step": 1}');
    await run(adamW(), 1, path('other'));
    writeFileSync(path('other', 'checkpoint-1', 'model.safetensors'), fileOf('{}'));
    await run(adamW(), 1, path('header'));
    writeFileSync(path('header', 'checkpoint-1', 'model.safetensors'), fileOf('{"x": {"dtype": "F32"}}'));
    for (const [name, header] of [
      [
        'shape',
        '{"__metadata__": {"format": "topk-attention checkpoint 1"}, "x": {"dtype": "F32", "shape": 3, "data_offsets": [0, 4]}}',
      ],
      [
        'offsets',
        '{"__metadata__": {"format": "topk-attention checkpoint 1"}, "x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}',
      ],
    ] as const) {
      await run(adamW(), 1, path(name));
      writeFileSync(path(name, 'checkpoint-1', 'model.safetensors'), fileOf(header));
    }
    const state = { global_step: 1, seed: 1, loader: { epoch: 0, batch: 0 }, optimizer_steps: {} };
    for (const [name, text] of [
      ['count', JSON.stringify({ ...state, optimizer_steps: { w: 1.5 } })],
      ['infinite', JSON.stringify(state).replace('"seed":1', '"seed":Infinity')],
    ] as const) {
      await run(adamW(), 1, path(name));
      writeFileSync(path(name, 'checkpoint-1', 'trainer_state.json'), text);
    }
    writeFileSync(path('text.pt'), 'no archive');
    mkdirSync(path('there', 'checkpoint-3'), { recursive: true });
    const to = (name: string, optimizer: string, ...rest: readonly string[]) => ({
      command: ['to-torch', path(name, 'checkpoint-1'), path('out.pt'), '--optimizer', optimizer, ...rest],
    });
    const from = (name: string) => ({ command: ['from-torch', path(name), folder] });
    const cases: readonly (readonly [{ readonly command: readonly string[] }, RegExp])[] = [
      [to('adamw', 'sgd'), /exp_avg.*not sgd/],
      [to('sgd', 'adam'), /momentum_buffer: that is not adam/],
      [to('sgd', 'sgd'), /pass --momentum/],
      [to('adamw', 'adamw', '--momentum', '0.9'), /adamw has no --momentum/],
      [to('adamw', 'adamw', '--lr', '-1'), /torch refuses .*learning rate/],
      [to('adafactor', 'adamw'), /only AdamW, Adam and SGD/],
      [to('short', 'adamw'), /model\.safetensors.*cut off/],
      [to('state', 'adamw'), /trainer_state\.json/],
      [to('other', 'adamw'), /is it a checkpoint of train/],
      [to('header', 'adamw'), /header is broken/],
      [from('text.pt'), /text\.pt is not a \.pt file/],
      [from('nowhere.pt'), /cannot read .*nowhere\.pt/],
      [{ command: ['from-torch', path('fixture.pt'), path('there')] }, /already exists/],
      [from('list.pt'), /has no "model" and "optimizer"/],
      [from('model.pt'), /"model" is not a state_dict/],
      [from('optimizer.pt'), /"optimizer" is not a state_dict/],
      [from('names.pt'), /1 parameters and there are 0 names/],
      [from('lion.pt'), /only AdamW, Adam and SGD/],
      [from('sgd.pt'), /pass --step/],
      // Files made by hand.
      [to('shape', 'adamw'), /header is broken/],
      [to('offsets', 'adamw'), /header is broken/],
      [to('count', 'adamw'), /optimizer_steps of w is 1\.5, not a whole number/],
      [to('infinite', 'adamw'), /seed is inf, not a whole number/],
      [from('groups.pt'), /"param_groups" of "optimizer" is not a list/],
      [from('group.pt'), /"param_groups" of "optimizer" is not a list/],
      [from('states.pt'), /"state" of "optimizer" does not hold a dict/],
      [from('stranger.pt'), /parameter '7' that is in none of its groups/],
      [from('named.pt'), /"names" is not a list of names/],
      [from('trainer.pt'), /"trainer" is not a dict/],
      [from('loader.pt'), /"loader" of "trainer" is not a dict/],
    ];
    const sgdGroup = { params: [], momentum: 0, dampening: 0 };
    const adamGroup = { params: [0], betas: [0.9, 0.999], amsgrad: false };
    const plain = (name: string, value: unknown) => ({ plain: { save: path(name), value } });
    const ofGroup = (group: object) => ({ model: {}, optimizer: { state: {}, param_groups: [group] } });
    const made = [
      { fixture: path('fixture.pt') },
      plain('list.pt', [1]),
      plain('model.pt', { model: { x: 1 }, optimizer: {} }),
      plain('optimizer.pt', { model: {}, optimizer: {} }),
      plain('names.pt', ofGroup(adamGroup)),
      plain('lion.pt', ofGroup({ params: [], betas: [0.9, 0.99] })),
      plain('sgd.pt', ofGroup(sgdGroup)),
      plain('groups.pt', { model: {}, optimizer: { state: {}, param_groups: 3 } }),
      plain('group.pt', ofGroup({ ...adamGroup, params: null })),
      plain('states.pt', { model: {}, optimizer: { state: { 0: 1 }, param_groups: [sgdGroup] } }),
      plain('stranger.pt', {
        model: {},
        optimizer: { state: { 7: {} }, param_groups: [sgdGroup] },
        trainer: {},
      }),
      plain('named.pt', { ...ofGroup(sgdGroup), names: [3] }),
      plain('trainer.pt', { ...ofGroup(sgdGroup), trainer: [] }),
      plain('loader.pt', { ...ofGroup(sgdGroup), trainer: { loader: { epoch: 1 } } }),
    ];
    const results = runJobs([...made, ...cases.map(([job]) => job)]).slice(made.length);
    for (const [i, [{ command }, message]] of cases.entries()) {
      const { code, stderr } = results[i] as CommandResult;
      expect(stderr, command.join(' ')).toMatch(message);
      expect(code, command.join(' ')).toBe(1);
    }
    expect(() => readFileSync(path('out.pt'))).toThrow('ENOENT');
  });
});
