import {
  type AnyOperation,
  type ChunkedOperation,
  isChunked,
  type OnnxNode,
  type Operation,
} from './node.js';

/** Operations that can run together: a segment of plain ones as a single session, or one chunked operation. */
export type Step =
  | { readonly kind: 'segment'; readonly operations: readonly Operation[] }
  | { readonly kind: 'chunked'; readonly operation: ChunkedOperation };

/** Pending operations that the nodes need, inputs before users. Iterative: graphs are deeper than the stack. */
export function pendingAncestors(nodes: readonly OnnxNode[]): readonly AnyOperation[] {
  const order: AnyOperation[] = [];
  const seen = new Set<AnyOperation>();
  const stack: { readonly operation: AnyOperation; next: number }[] = [];
  const visit = (node: OnnxNode): void => {
    const { operation } = node;
    if (operation === undefined || seen.has(operation)) return;
    seen.add(operation);
    stack.push({ operation, next: 0 });
  };
  for (const node of nodes) {
    visit(node);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const input = top.operation.inputs[top.next++];
      if (input !== undefined) {
        visit(input);
      } else {
        order.push(top.operation);
        stack.pop();
      }
    }
  }
  return order;
}

/**
 * Splits operations (inputs first) into steps. Operations added after a cut run after those added before it, so that the
 * scratch memory of one chunk is freed before the next begins and equal chunks share one compiled session.
 */
export function schedule(order: readonly AnyOperation[]): readonly Step[] {
  const epochs = new Map<number, AnyOperation[]>();
  for (const operation of order) {
    const epoch = operation.epoch ?? 0;
    const known = epochs.get(epoch);
    if (known === undefined) epochs.set(epoch, [operation]);
    else known.push(operation);
  }
  return [...epochs.entries()].sort(([a], [b]) => a - b).flatMap(([, operations]) => stepsOf(operations));
}

/**
 * Chunked operations cut the graph too. The operations between two of them form one segment, so that the layers of a model,
 * which are alike, share one compiled session.
 */
function stepsOf(order: readonly AnyOperation[]): readonly Step[] {
  const levels = new Map<AnyOperation, number>();
  const steps: { segment: Operation[]; chunked: ChunkedOperation[] }[] = [];
  for (const operation of order) {
    let level = 0;
    for (const { operation: source } of operation.inputs) {
      const before = source && levels.get(source);
      if (source === undefined || before === undefined) continue;
      const isCut = isChunked(source) || isChunked(operation);
      level = Math.max(level, before + (isCut ? 1 : 0));
    }
    levels.set(operation, level);
    while (steps.length <= level) steps.push({ segment: [], chunked: [] });
    const step = steps[level];
    if (isChunked(operation)) step?.chunked.push(operation);
    else step?.segment.push(operation);
  }
  return steps.flatMap(({ segment, chunked }): Step[] => [
    ...(segment.length > 0 ? [{ kind: 'segment' as const, operations: segment }] : []),
    ...chunked.map((operation) => ({ kind: 'chunked' as const, operation })),
  ]);
}
