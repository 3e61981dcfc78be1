import { answerFrom } from './answer.js';

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const form = element<HTMLFormElement>('form');

function show(state: 'idle' | 'busy' | 'done' | 'failed', status: string, answer = ''): void {
  element('status').textContent = status;
  element('answer').textContent = answer;
  document.body.dataset.state = state;
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  if (document.body.dataset.state === 'busy') return;
  const given = new FormData(form);
  const [model, question, text] = ['model', 'question', 'text'].map((name) => String(given.get(name)));
  show('busy', 'Loading and reading ...');
  const started = performance.now();
  try {
    const answer = await answerFrom(model as string, question as string, text as string);
    show('done', `${Math.round(performance.now() - started)} ms`, answer);
  } catch (error) {
    show('failed', error instanceof Error ? error.message : String(error));
  }
});
