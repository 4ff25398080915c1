// Opaque strokes on a canvas of the photo's shape; after each stroke the canvas is sent as a PNG.
const COLORS = { red: 'rgb(230, 60, 70)', green: 'rgb(50, 170, 90)', blue: 'rgb(60, 110, 220)' };
let tool = 'red';
let last = null;

// The template, and so the canvas, is made anew with every photo.
const canvasOf = () => {
  const canvas = element.querySelector('canvas');
  const photo = element.querySelector('img');
  if (photo && !canvas.dataset.ready && photo.naturalWidth) {
    canvas.width = photo.naturalWidth;
    canvas.height = photo.naturalHeight;
    canvas.dataset.ready = 'yes';
  }
  return canvas;
};
const mark = () => {
  for (const button of element.querySelectorAll('[data-tool]')) {
    button.setAttribute('aria-pressed', button.dataset.tool === tool);
  }
};
const send = () => trigger('brushed', { drawing: canvasOf().toDataURL('image/png') });
const point = (event, canvas) => {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) / box.width) * canvas.width,
    ((event.clientY - box.top) / box.height) * canvas.height,
  ];
};
const stroke = (canvas, from, to) => {
  const context = canvas.getContext('2d');
  const size = Number(element.querySelector('.size').value);
  context.globalCompositeOperation = tool === 'eraser' ? 'destination-out' : 'source-over';
  context.strokeStyle = COLORS[tool] || 'black';
  context.lineCap = context.lineJoin = 'round';
  context.lineWidth = (size / 100) * Math.max(canvas.width, canvas.height);
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
};
element.addEventListener('click', (event) => {
  const chosen = event.target.dataset.tool;
  if (!chosen) return;
  if (chosen === 'clear') {
    const canvas = canvasOf();
    canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);
    send();
  } else {
    tool = chosen;
    mark();
  }
});
element.addEventListener('pointerdown', (event) => {
  if (event.target.tagName !== 'CANVAS') return;
  const canvas = canvasOf();
  if (!canvas.dataset.ready) return;
  canvas.setPointerCapture(event.pointerId);
  last = point(event, canvas);
  stroke(canvas, last, last);
});
element.addEventListener('pointermove', (event) => {
  if (!last) return;
  const canvas = canvasOf();
  const next = point(event, canvas);
  stroke(canvas, last, next);
  last = next;
});
const finish = () => {
  if (!last) return;
  last = null;
  send();
};
element.addEventListener('pointerup', finish);
element.addEventListener('pointercancel', finish);
watch('photo', mark);
mark();
