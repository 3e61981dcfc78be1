import {
  aFunction,
  aValue,
  type Backend,
  evaluate,
  type NamedTensors,
  type OptionKinds,
  readOptions,
  required,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import type { ConformanceCase, ConformanceContext } from '../harness/case.js';
import { check, checkClose } from '../harness/support/assert.js';
import { goldensFolder, readBytes, readJson } from '../harness/support/golden-files.js';
import type { Nd } from '../harness/support/nd.js';
import { parseSafetensors } from '../harness/support/safetensors.js';
import { initialParameters, lossOf, type Mechanism } from './model.js';
import { disposeTree, type TrainingOptimizers } from './optimizers.js';

/** goldens/training/training.json, written by tooling/goldens/training.py. */
interface Golden {
  readonly training: readonly TrainingGolden[];
  readonly shapes: { readonly [parameter: string]: Shape };
  readonly optimizers: readonly OptimizerGolden[];
}

interface TrainingGolden {
  readonly name: string;
  readonly optimizer: keyof TrainingOptimizers;
  readonly options: object;
  readonly mechanism: Mechanism;
}

interface OptimizerGolden {
  readonly name: string;
  readonly optimizer: keyof TrainingOptimizers;
  readonly options: object;
  /** Values of each parameter after so many steps. */
  readonly after: { readonly [steps: string]: { readonly [parameter: string]: readonly number[] } };
}

export interface TrainingCaseOptions {
  /** Folder of the golden files, with a slash at the end. Default: this package's own. */
  readonly goldens?: URL;
  /** Number of steps. Default 20; 5 are for slow devices, such as a software GPU. */
  readonly steps?: 5 | 20;
}

const kinds: OptionKinds<TrainingCaseOptions> = {
  goldens: aValue('a URL', (value) => value instanceof URL),
  steps: aValue('5 or 20', (value) => value === 5 || value === 20),
};
const optimizerKinds: OptionKinds<TrainingOptimizers> = {
  adamW: required(aFunction()),
  adam: required(aFunction()),
  sgd: required(aFunction()),
  adafactor: required(aFunction()),
};

/**
 * The cases of the group `training`: losses and parameters of a small model after some steps, and those of each
 * optimiser on stated gradients, compared with PyTorch in float64. They are not part of `conformanceCases()`, as they
 * need the optimisers of @topk-attention/nn.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * import { adafactor, adam, adamW, sgd } from '@topk-attention/nn';
 * const cases = await trainingCases({ adafactor, adam, adamW, sgd });
 */
export async function trainingCases(
  optimizers: TrainingOptimizers,
  options?: TrainingCaseOptions,
): Promise<readonly ConformanceCase[]> {
  readOptions('trainingCases: optimizers', optimizers, optimizerKinds);
  const { goldens = goldensFolder, steps = 20 } = readOptions('trainingCases', options, kinds);
  const golden: Golden = await readJson(new URL('training/training.json', goldens));
  const values = parseSafetensors(await readBytes(new URL('training/training.safetensors', goldens)));
  return [
    ...golden.optimizers.map(
      (one): ConformanceCase => ({
        name: `an optimiser alone ends where PyTorch's does: ${one.name}`,
        group: 'training',
        run: (context) => checkOptimizer(context, optimizers, one, steps, golden.shapes),
      }),
    ),
    ...golden.training.map(
      (one): ConformanceCase => ({
        name: `a model of 2,000 parameters trains as in PyTorch: ${one.name}`,
        group: 'training',
        run: (context) => checkTraining(context, optimizers, one, steps, values),
      }),
    ),
  ];
}

async function checkTraining(
  { backend, tolerances }: ConformanceContext,
  optimizers: TrainingOptimizers,
  { name, optimizer, options, mechanism }: TrainingGolden,
  steps: number,
  values: ReadonlyMap<string, Nd>,
): Promise<void> {
  const wanted = (key: string): readonly number[] => {
    const found = values.get(`${name}.${key}`);
    check(found !== undefined, `golden file without tensor ${name}.${key}`);
    return found.data;
  };
  // Optimisers round their numbers to f32, even where the backend stores f64.
  const { f32: tolerance } = tolerances;
  const { parameters, losses } = await run(backend, optimizers[optimizer](options), steps, {
    initial: initialParameters,
    gradientsAt: (at, step) => valueAndGrad((p: NamedTensors) => lossOf(p, step, mechanism))(at),
  });
  checkClose('losses', losses, wanted('losses').slice(0, steps), tolerance);
  for (const [key, got] of Object.entries(parameters)) {
    checkClose(key, got, wanted(`${steps}.${key}`), tolerance);
  }
}

async function checkOptimizer(
  { backend }: ConformanceContext,
  optimizers: TrainingOptimizers,
  { optimizer, options, after }: OptimizerGolden,
  steps: number,
  shapes: Golden['shapes'],
): Promise<void> {
  const { parameters } = await run(backend, optimizers[optimizer](options), steps, {
    initial: () => treeOf(backend, shapes, (index, i) => Math.sin(1 + 3 * index + i)),
    gradientsAt: (_, step) => ({ gradients: statedGradients(backend, shapes, step) }),
  });
  for (const [name, got] of Object.entries(parameters)) {
    // Elements pass through 0, where the rounding errors of earlier steps remain.
    checkClose(name, got, after[steps]?.[name] ?? [], { absolute: 5e-6, relative: 1e-5 });
  }
}

/** Those of tooling/goldens/optimizers.py: the third parameter has none in odd steps. */
function statedGradients(backend: Backend, shapes: Golden['shapes'], step: number): NamedTensors {
  return treeOf(
    backend,
    shapes,
    (index, i) => (Math.cos(step + 1.7 * index + 0.9 * i) * (1 + index)) / 4,
    (index) => index !== 2 || step % 2 === 0,
  );
}

function treeOf(
  backend: Backend,
  shapes: Golden['shapes'],
  valueAt: (index: number, element: number) => number,
  has: (index: number) => boolean = () => true,
): NamedTensors {
  const made = Object.entries(shapes).flatMap(([name, shape], index): [string, Tensor][] => {
    if (!has(index)) return [];
    const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => valueAt(index, i));
    return [[name, tensor(backend, values, shape)]];
  });
  return Object.fromEntries(made);
}

interface Problem {
  readonly initial: (backend: Backend) => NamedTensors;
  readonly gradientsAt: (
    parameters: NamedTensors,
    step: number,
  ) => { readonly gradients: NamedTensors; readonly value?: Tensor };
}

/** Values after so many steps, and the losses on the way. Leaves nothing on the backend. */
async function run(
  backend: Backend,
  optimizer: ReturnType<TrainingOptimizers['adamW']>,
  steps: number,
  { initial, gradientsAt }: Problem,
): Promise<{
  readonly parameters: { readonly [name: string]: readonly number[] };
  readonly losses: readonly number[];
}> {
  let parameters = initial(backend);
  let state = optimizer.init(parameters);
  const losses: Tensor[] = [];
  for (let step = 0; step < steps; step++) {
    const { gradients, value } = gradientsAt(parameters, step);
    const next = optimizer.step(parameters, gradients, state);
    for (const old of [gradients, parameters, state.tensors]) disposeTree(old);
    ({ parameters, state } = next);
    if (value !== undefined) losses.push(value);
    // The end of a lazy backend's graph.
    const made = [...Object.values(parameters), ...Object.values(state.tensors)];
    await evaluate(...made, ...(value === undefined ? [] : [value]));
  }
  const numbers = async (one: Tensor): Promise<readonly number[]> => Array.from(await one.data(), Number);
  const read = await Promise.all(
    Object.entries(parameters).map(async ([name, one]) => [name, await numbers(one)] as const),
  );
  const result = {
    parameters: Object.fromEntries(read),
    losses: (await Promise.all(losses.map(numbers))).flat(),
  };
  disposeTree(parameters);
  disposeTree(state.tensors);
  for (const one of losses) one.dispose();
  return result;
}
