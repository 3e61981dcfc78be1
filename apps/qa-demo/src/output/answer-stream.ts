import { type Io, ProgressBar } from '@topk-attention/app-kit/node';
import type { AnswerEvent } from '../engine/protocol.js';

/**
 * One answer on its way to standard output, behind a label. Until its first piece a progress bar takes its place;
 * from then on the answer itself shows the progress.
 */
export class AnswerStream {
  readonly #io: Io;
  readonly #isSilent: boolean;
  readonly #bar: ProgressBar;
  #label: string;

  /** @param isSilent write nothing to standard output: the answer will be part of a JSON object. */
  constructor(io: Io, isSilent: boolean, label: string) {
    this.#io = io;
    this.#isSilent = isSilent;
    this.#bar = new ProgressBar(io.stderr, isSilent);
    this.#label = label;
  }

  /** Shows a further piece, or the progress until there is one. */
  show(event: AnswerEvent): void {
    if (event.type === 'text') this.#write(event.piece);
    else if (event.type === 'progress' && event.stage !== 'generate')
      this.#bar.update(event.done, event.total, event.stage, event.stage === 'reading');
  }

  /** A line for standard error, which the bar must not run into. */
  note(line: string): void {
    this.#bar.clear();
    if (!this.#isSilent) this.#io.stderr.write(`${line}\n`);
  }

  /** Call after the last piece, even if there was none. */
  end(suffix = ''): void {
    this.#write(`${suffix}\n`);
  }

  /** Call when there is no answer: removes the bar. */
  fail(): void {
    this.#bar.clear();
  }

  #write(text: string): void {
    this.#bar.clear();
    if (!this.#isSilent) this.#io.stdout.write(this.#label + text);
    this.#label = '';
  }
}
