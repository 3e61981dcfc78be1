import type { Engine, Host } from '../host.js';
import type { Session } from '../runs/run-folder.js';
import { calledAs } from './called-as.js';

/** What is kept about a process that works on a run. */
export function sessionOf({ info }: Engine, { version }: Host): Omit<Session, 'from'> {
  return {
    date: new Date().toISOString(),
    command: calledAs(),
    engine: info.description,
    node: process.versions.node,
    system: `${process.platform} ${process.arch}`,
    version,
  };
}
