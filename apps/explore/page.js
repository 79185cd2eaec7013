// The drawing pad: white lines on black.
function padPoint(event) {
  const canvas = event.target, box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width,
          (event.clientY - box.top) * canvas.height / box.height];
}
function padStart(event) {
  event.target.setPointerCapture(event.pointerId);
  const pen = event.target.getContext("2d");
  pen.strokeStyle = "white"; pen.lineWidth = 22; pen.lineCap = pen.lineJoin = "round";
  pen.beginPath(); pen.moveTo(...padPoint(event)); padMove(event);
}
function padMove(event) {
  if (!event.buttons) return;
  const pen = event.target.getContext("2d");
  pen.lineTo(...padPoint(event)); pen.stroke();
}
function padClear() {
  const canvas = document.getElementById("pad"), pen = canvas.getContext("2d");
  pen.fillStyle = "black"; pen.fillRect(0, 0, canvas.width, canvas.height);
}
