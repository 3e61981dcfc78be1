import { DryBuffer } from '../../runtime/dry-buffer.js';
import type { Span } from '../../runtime/kernel.js';
import type { Program } from '../../runtime/program.js';
import type { Stream } from '../../runtime/stream.js';
import { storageBytes, type View } from '../../runtime/view.js';
import type { ForwardViews } from './forward-path.js';

const ROLES = [
  ...(['q', 'k', 'v', 'keyLengths', 'mask', 'bias', 'relativeTable'] as const),
  ...(['output', 'indices', 'scores'] as const),
];

/** Most chunks whose programs are kept, of which callers rarely set more than one: a choice. */
const MOST_CHUNKS = 4;

/** What the calls of one request record, captured at the second of them: the first may have been the only one. */
export class CallPrograms {
  readonly #stream: Stream;
  /** By chunk; undefined after the first call. */
  readonly #programs = new Map<number, Program | undefined>();

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** @param record what the call records, which depends on nothing but the places of the views */
  run(chunk: number, views: ForwardViews, record: (views: ForwardViews) => void): void {
    if (!this.#stream.runsPrograms) {
      record(views);
      return;
    }
    if (!this.#programs.has(chunk)) {
      if (this.#programs.size >= MOST_CHUNKS) this.forget();
      this.#programs.set(chunk, undefined);
      record(views);
      return;
    }
    let program = this.#programs.get(chunk);
    if (program === undefined) {
      const stand = standIns(views);
      program = this.#stream.capture(spansOf(stand), () => record(stand));
      this.#programs.set(chunk, program);
    }
    this.#stream.run(program, spansOf(views));
  }

  forget(): void {
    for (const program of this.#programs.values()) program?.forget();
    this.#programs.clear();
  }
}

function spansOf(views: ForwardViews): Span[] {
  const spans: Span[] = [];
  for (const role of ROLES) {
    const view = views[role];
    if (view !== undefined) spans.push(view.span);
  }
  return spans;
}

/** Views of the same shapes, each in a buffer of its own. */
function standIns(views: ForwardViews): ForwardViews {
  const standIn = ({ shape, dtype }: View): View => {
    const size = Math.max(4, storageBytes(shape, dtype));
    return { span: { buffer: new DryBuffer({ size, usage: 0 }), offset: 0, size }, shape, dtype };
  };
  return {
    ...{ q: standIn(views.q), k: standIn(views.k), v: standIn(views.v), output: standIn(views.output) },
    ...(views.keyLengths && { keyLengths: standIn(views.keyLengths) }),
    ...(views.mask && { mask: standIn(views.mask) }),
    ...(views.bias && { bias: standIn(views.bias) }),
    ...(views.relativeTable && { relativeTable: standIn(views.relativeTable) }),
    ...(views.indices && { indices: standIn(views.indices) }),
    ...(views.scores && { scores: standIn(views.scores) }),
  };
}
