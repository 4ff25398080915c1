// The dot's place in the square, from (0, 0), top left, to (1, 1), in steps of a twentieth. It is
// sent where the dot rests for a moment: previews of its whole way would come too late.
const STEPS = 20;
const REST = 150; // milliseconds
let waiting = null;
let place = [0.5, 0.5];
const show = () => {
  const dot = element.querySelector('.dot');
  dot.style.left = `${100 * place[0]}%`;
  dot.style.top = `${100 * place[1]}%`;
};
const move = (across, down) => {
  const next = [across, down].map((x) => Math.round(Math.min(1, Math.max(0, x)) * STEPS) / STEPS);
  if (next[0] === place[0] && next[1] === place[1]) return;
  place = next;
  show();
  clearTimeout(waiting);
  waiting = setTimeout(() => trigger('moved', { across: place[0], down: place[1] }), REST);
};
const follow = (event) => {
  const box = element.querySelector('.pad').getBoundingClientRect();
  move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
};
element.addEventListener('pointerdown', (event) => {
  const pad = event.target.closest('.pad');
  if (!pad) return;
  pad.setPointerCapture(event.pointerId);
  follow(event);
});
element.addEventListener('pointermove', (event) => {
  if (event.buttons && event.target.closest('.pad')) follow(event);
});
element.addEventListener('keydown', (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  move(place[0] + step[0] / STEPS, place[1] + step[1] / STEPS);
});
show();
