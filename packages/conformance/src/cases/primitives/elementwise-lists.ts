import * as ops from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { check, checkEqual, checkSameBits } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';

type Item = { readonly moved: ops.Tensor; readonly average: ops.Tensor };
type Named = { readonly [name: string]: ops.Tensor };

const { add, mul, sub } = ops.terms;
/** Like an optimiser's update: two tensors that their successors replace, one that is new each time, two numbers. */
const update = ops.elementwiseProgram(
  { inputs: ['moved', 'given', 'average'], numbers: ['rate', 'kept'] },
  ({ moved, given, average, rate, kept }) => {
    const next = add(mul(average, kept), mul(given, sub(1, kept)));
    return { moved: sub(moved, mul(next, rate)), average: next };
  },
);

const shapes: readonly ops.Shape[] = [
  [3],
  [64],
  [5, 13],
  [1],
  [257],
  [],
  [300, 7],
  [63],
  ...Array.from({ length: 20 }, (_, at) => [at + 1]),
];

function drawn(backend: ops.Backend, seed: string, shape: ops.Shape): ops.Tensor {
  return ops.tensor(backend, Float32Array.from(new Random(seed).uniform(shape).data), shape);
}

const itemsOf = (backend: ops.Backend): Item[] =>
  shapes.map((shape, at) => ({
    moved: drawn(backend, `moved ${at}`, shape),
    average: drawn(backend, `average ${at}`, shape),
  }));

const givenOf = (backend: ops.Backend, step: number): ops.Tensor[] =>
  shapes.map((shape, at) => drawn(backend, `given ${step} ${at}`, shape));

function disposeAll(...lists: readonly (readonly (Item | ops.Tensor)[])[]): void {
  for (const one of lists.flat()) {
    if (one instanceof ops.Tensor) one.dispose();
    else for (const each of Object.values(one)) each.dispose();
  }
}

async function checkSame(what: string, some: readonly Item[], others: readonly Item[]): Promise<void> {
  for (const [at, one] of some.entries()) {
    for (const name of ['moved', 'average'] as const) {
      const [a, b] = [await one[name].data(), await (others[at] as Item)[name].data()];
      checkSameBits(`${what}: ${name} of tensor ${at}`, a, b);
    }
  }
}

function listCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `elementwise lists: ${name}`, group: 'primitives', run };
}

export const elementwiseListCases: readonly ConformanceCase[] = [
  listCase('the bits of one tensor after the other, several times in a row', async ({ backend }) => {
    const vector = ops.tensor(backend, [0.1, 0.9]);
    const numbers = new ops.ProgramNumbers(vector);
    let [all, single] = [itemsOf(backend), itemsOf(backend)];
    for (let step = 0; step < 4; step++) {
      const given = givenOf(backend, step);
      // Something from elsewhere in the middle of what the last call made, and a different set of tensors.
      if (step === 2) {
        for (const items of [all, single]) {
          items[4]?.moved.dispose();
          items[4] = { ...(items[4] as Item), moved: drawn(backend, 'elsewhere', shapes[4] as ops.Shape) };
        }
      }
      const count = step === 3 ? 9 : shapes.length;
      const inputs = (items: readonly Item[]) =>
        items.slice(0, count).map((one, at) => ({ ...one, given: given[at] as ops.Tensor }));
      const next = [
        ...ops.mapElementsOfAll(update, inputs(all), numbers),
        ...all.slice(count).map(({ moved, average }) => ({ moved: moved.alias(), average: average.alias() })),
      ];
      const expected = [
        ...inputs(single).map((one) => ops.mapElements(update, one, numbers)),
        ...single
          .slice(count)
          .map(({ moved, average }) => ({ moved: moved.alias(), average: average.alias() })),
      ];
      disposeAll(all, single, given);
      [all, single] = [next, expected];
      await checkSame(`step ${step}`, all, single);
    }
    disposeAll(all, single);
    numbers.dispose();
    vector.dispose();
  }),
  listCase(
    'old tensors keep their values, and a new one is written apart from the others',
    async ({ backend }) => {
      const program = ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ x: add(x, 1) }));
      const first = [[1, 2], [3]].map((values) => ({ x: ops.tensor(backend, values) }));
      const second = ops.mapElementsOfAll(program, first);
      const third = ops.mapElementsOfAll(program, second);
      const rows = ops.writeInto(third[0]?.x as ops.Tensor, first[1]?.x as ops.Tensor, [1]);
      const viewed = ops.reshape(third[1]?.x as ops.Tensor, [1, 1]);
      for (const [what, got, expected] of [
        ['given', first[0]?.x, [1, 2]],
        ['second', second[0]?.x, [2, 3]],
        ['second, another', second[1]?.x, [4]],
        ['third', third[1]?.x, [5]],
        ['a view', viewed, [5]],
        ['written into', rows, [3, 3]],
      ] as const) {
        checkEqual(what, await (got as ops.Tensor).data(), expected);
      }
      const owned = [first, second, third].flat().map(({ x }) => x);
      for (const one of [...owned, viewed, rows]) one.dispose();
    },
  ),
  {
    ...listCase(
      'casts of several tensors to f16 and back are those of one after the other',
      async ({ backend }) => {
        const same = ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: x }));
        const xs = shapes.map((shape, at) => drawn(backend, `cast ${at}`, shape));
        const halves = ops.mapElementsOfAll(
          same,
          xs.map((x) => ({ x })),
          undefined,
          { dtype: 'f16' },
        );
        const wide = ops.mapElementsOfAll(
          same,
          halves.map(({ y }) => ({ x: y })),
        );
        for (const [at, x] of xs.entries()) {
          const [half, single] = [halves[at]?.y as ops.Tensor, wide[at]?.y as ops.Tensor];
          const [narrow, back] = [ops.cast(x, 'f16'), ops.scope(() => ops.cast(half, 'f32'))];
          checkSameBits(`to f16: tensor ${at}`, await half.data(), await narrow.data());
          checkSameBits(`and back: tensor ${at}`, await single.data(), await back.data());
          disposeAll([x, half, single, narrow, back]);
        }
      },
    ),
    notFor: needsHalves,
  },
  {
    ...listCase('an update by gradients of f16', async ({ backend }) => {
      const vector = ops.tensor(backend, [0.1, 0.9]);
      const numbers = new ops.ProgramNumbers(vector);
      let [all, single] = [itemsOf(backend), itemsOf(backend)];
      for (let step = 0; step < 3; step++) {
        const wide = givenOf(backend, step);
        const given = wide.map((one) => ops.cast(one, 'f16'));
        const inputs = (items: readonly Item[]) =>
          items.map((one, at) => ({ ...one, given: given[at] as ops.Tensor }));
        const next = ops.mapElementsOfAll(update, inputs(all), numbers);
        const expected = inputs(single).map((one) => ops.mapElements(update, one, numbers));
        disposeAll(all, single, given, wide);
        [all, single] = [[...next], expected];
        await checkSame(`step ${step}`, all, single);
      }
      disposeAll(all, single);
      numbers.dispose();
      vector.dispose();
    }),
    notFor: needsHalves,
  },
  listCase('an empty tensor, and a list of none', async ({ backend }) => {
    const program = ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ x: mul(x, 2) }));
    const list = [ops.zeros(backend, [0, 3]), ops.tensor(backend, [4])];
    const made = ops.mapElementsOfAll(
      program,
      list.map((x) => ({ x })),
    );
    const [empty, other] = made.map(({ x }) => x) as [ops.Tensor, ops.Tensor];
    check(empty.size === 0, 'an empty tensor stays empty');
    checkEqual('the other', await other.data(), [8]);
    check(ops.mapElementsOfAll(program, []).length === 0, 'nothing of nothing');
    disposeAll(list, [empty, other]);
  }),
  listCase('replayed steps have the bits of called ones', async ({ backend }) => {
    const names = shapes.map((_, at) => `p${at}`);
    const stateOf = (items: readonly Item[]): Named =>
      Object.fromEntries(items.flatMap((one, at) => Object.entries(one).map(([k, x]) => [`p${at}.${k}`, x])));
    const step = (state: Named, { rate, ...given }: Named) =>
      ops.scope(() => {
        const numbers = new ops.ProgramNumbers(rate as ops.Tensor);
        const made = ops.mapElementsOfAll(
          update,
          names.map((name) => ({
            moved: state[`${name}.moved`] as ops.Tensor,
            average: state[`${name}.average`] as ops.Tensor,
            given: given[name] as ops.Tensor,
          })),
          numbers,
        );
        numbers.dispose();
        return { state: stateOf(made), outputs: { total: ops.sum(made[6]?.moved as ops.Tensor) } };
      });
    const steps = [ops.recordedStep(step, { mostRecordings: 0 }), ops.recordedStep(step)] as const;
    const states = [stateOf(itemsOf(backend)), stateOf(itemsOf(backend))];
    const held: ops.Tensor[] = [];
    for (let at = 0; at < 8; at++) {
      const given = Object.fromEntries(givenOf(backend, at).map((one, i) => [`p${i}`, one]));
      const inputs = { ...given, rate: ops.tensor(backend, [0.1 / (at + 1), 0.9]) };
      for (const which of [0, 1] as const) {
        const before = states[which] as Named;
        // As after loading one parameter.
        if (at === 5) {
          before['p2.moved']?.dispose();
          states[which] = { ...before, 'p2.moved': drawn(backend, 'loaded', shapes[2] as ops.Shape) };
        }
        // Someone looks at a tensor of the state for longer than a step.
        if (at === 6) held.push((states[which] as Named)['p0.moved']?.alias() as ops.Tensor);
        const { state, outputs } = steps[which](states[which] as Named, inputs);
        states[which] = state;
        outputs.total.dispose();
      }
      for (const name of Object.keys(states[0] as Named)) {
        const [a, b] = states.map((state) => state[name] as ops.Tensor) as [ops.Tensor, ops.Tensor];
        checkSameBits(`call ${at}: ${name}`, await a.data(), await b.data());
      }
      for (const one of Object.values(inputs)) one.dispose();
    }
    const [a, b] = held as [ops.Tensor, ops.Tensor];
    checkSameBits('what was held', await a.data(), await b.data());
    check(
      backend.record === undefined || steps[1].counts.replayed >= 4,
      `${steps[1].counts.replayed} replays of 8 calls`,
    );
    for (const one of [...held, ...states.flatMap((state) => Object.values(state))]) one.dispose();
    steps[1].dispose();
  }),
];
